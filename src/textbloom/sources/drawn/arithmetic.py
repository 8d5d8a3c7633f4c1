"""Arithmetic with the same bits on every CPU: only operations that IEEE 754 rounds in one way.

The sines, powers and sums of numeric libraries differ in the last bit between instruction sets. Angles are in turns.
"""

from typing import TypeVar

import numpy as np

Array = np.ndarray

# Taylor coefficients of sin(2πy) in odd powers, highest first; the error on |y| <= 1/4 is below 4e-6.
_SINE = (42.05869394489765, -76.70585975306136, 81.60524927607504, -41.341702240399755, 6.283185307179586)
TURN = 6.283185307179586  # radians

Number = TypeVar("Number", float, Array)


def sine(turns: Number) -> Number:
    """sin(2π·turns) for a float or an array of any shape."""
    y = turns - np.floor(turns + 0.5)
    y = np.where(np.abs(y) > 0.25, np.copysign(0.5, y) - y, y)
    return _odd(y if isinstance(turns, Array) else float(y))  # NumPy's own scalars would widen float32 arrays


def cosine(turns: Number) -> Number:
    """cos(2π·turns)."""
    return sine(turns + 0.25)


def _odd(y: Number) -> Number:
    square = y * y
    total = square * _SINE[0] + _SINE[1]
    for coefficient in _SINE[2:]:
        total = total * square + coefficient
    return y * total


def clip(values: Array, low: float = 0.0, high: float = 1.0) -> Array:
    return np.minimum(np.maximum(values, low), high)


def smoothstep(values: Array) -> Array:
    """3v² − 2v³ of values clipped to [0, 1]."""
    v = clip(values)
    return v * v * (3.0 - 2.0 * v)


def smooth_noise(rng: np.random.Generator, cells: int, side: int) -> Array:
    """Value noise: random lattice values, smoothly interpolated. float32 [side, side] in [0, 1]."""
    lattice = rng.random((cells + 1, cells + 1)).astype(np.float32)
    place = (np.arange(side, dtype=np.float32) + 0.5) * (cells / side)
    cell = place.astype(np.int64)
    weight = smoothstep(place - cell)
    rows = lattice[cell] + (lattice[cell + 1] - lattice[cell]) * weight[:, None]
    return rows[:, cell] + (rows[:, cell + 1] - rows[:, cell]) * weight[None, :]
