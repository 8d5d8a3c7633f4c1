"""Points between two points: on a straight line, and along an arc."""

import math

import torch
from torch import Tensor


def straight(start: Tensor, end: Tensor, steps: int) -> Tensor:
    """`steps` (2 or more) evenly spaced points [steps, D] from `start` [D] to `end` [D], both included."""
    return _mixed(start, end, [(1.0 - t, t) for t in _times(steps)])


def spherical(start: Tensor, end: Tensor, steps: int) -> Tensor:
    """The same along the arc between them (Shoemake 1985, "slerp"), at equal angles.

    A normal vector of many dimensions has nearly the length √D; the points of a straight line between two are shorter,
    and unlike any noise that training drew (White 2016, "Sampling Generative Networks"). Points on one line through the
    origin span no arc: between them the way is straight.
    """
    a, b = (point.double() / point.double().norm() for point in (start, end))
    angle = math.acos(min(1.0, max(-1.0, torch.dot(a, b).item())))
    whole = math.sin(angle)
    if whole < 1e-6:
        return straight(start, end, steps)
    weights = [(math.sin((1.0 - t) * angle) / whole, math.sin(t * angle) / whole) for t in _times(steps)]
    return _mixed(start, end, weights)


def _times(steps: int) -> list[float]:
    return [step / (steps - 1) for step in range(steps)]


def _mixed(start: Tensor, end: Tensor, weights: list[tuple[float, float]]) -> Tensor:
    return torch.tensor(weights, dtype=start.dtype) @ torch.stack([start, end])
