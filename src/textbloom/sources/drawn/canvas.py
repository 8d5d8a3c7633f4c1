"""A picture in the making: planar float32 sRGB, painted window by window at twice the final size."""

from dataclasses import dataclass
from math import sqrt

import numpy as np

from textbloom.sources.drawn.arithmetic import Array, clip, cosine, sine
from textbloom.sources.drawn.attributes import RGB, Ramp

SIDE = 128  # pixels of the finished picture
PIXEL = 1.0 / SIDE  # of the fine grid, in half sides

Window = tuple[slice, slice]


class Canvas:
    """`pixels` float32 [3, side, side] in [0, 1]; `x`, `y` float32 [side, side] in half sides, y downwards."""

    def __init__(self, side: int) -> None:
        axis = (np.arange(side, dtype=np.float32) + 0.5) * (2.0 / side) - 1.0
        self.side = side
        self.x = np.zeros((side, side), np.float32) + axis[None, :]
        self.y = np.zeros((side, side), np.float32) + axis[:, None]
        self.pixels = np.zeros((3, side, side), np.float32)

    @classmethod
    def over(cls, background: "Canvas") -> "Canvas":
        """A canvas of twice the side that shows `background`."""
        canvas = cls(2 * background.side)
        canvas.pixels[:] = np.repeat(np.repeat(background.pixels, 2, axis=1), 2, axis=2)
        return canvas

    @property
    def everywhere(self) -> Window:
        return slice(0, self.side), slice(0, self.side)

    def around(self, left: float, right: float, top: float, bottom: float) -> Window:
        """The window that covers a box given in half sides; at least 3 pixels a side, so that slopes exist."""

        def span(low: float, high: float) -> slice:
            first = min(max(int((low + 1.0) * self.side * 0.5), 0), self.side - 3)
            last = min(max(int((high + 1.0) * self.side * 0.5) + 1, first + 3), self.side)
            return slice(first, last)

        return span(top, bottom), span(left, right)

    def mix(self, window: Window, alpha: Array, colour: Array) -> None:
        """Lay `colour` [3, h, w] or [3, 1, 1] over the window with coverage `alpha` [h, w]."""
        part = self.pixels[(slice(None), *window)]
        part += alpha * (colour - part)

    def darken(self, window: Window, amount: Array) -> None:
        """Multiply by 1 − amount, a little less in blue: shade is cool."""
        part = self.pixels[(slice(None), *window)]
        part *= 1.0 - amount * _SHADE

    def picture(self) -> Array:
        """uint8 [side / 2, side / 2, 3], each pixel the mean of its four."""
        fine = self.pixels
        mean = (fine[:, ::2, ::2] + fine[:, 1::2, ::2] + fine[:, ::2, 1::2] + fine[:, 1::2, 1::2]) * 0.25
        return np.ascontiguousarray(np.moveaxis((clip(mean) * 255.0 + 0.5).astype(np.uint8), 0, 2))


_SHADE = np.array([1.0, 0.97, 0.9], np.float32).reshape(3, 1, 1)


@dataclass(frozen=True)
class Light:
    """Unit vector towards the light (z towards the viewer) and the tint of its colour."""

    x: float
    y: float
    z: float
    tint: tuple[float, float, float]

    @classmethod
    def coming_from(cls, turns: float, tint: tuple[float, float, float]) -> "Light":
        flat, z = 0.62, 0.78
        length = sqrt(flat * flat + z * z)
        return cls(cosine(turns) * flat / length, sine(turns) * flat / length, z / length, tint)


def rgb(colour: RGB) -> Array:
    """float32 [3, 1, 1] of an 8-bit colour."""
    return (np.array(colour, np.float32) / 255.0).reshape(3, 1, 1)


def shaded(ramp: Ramp, light: Array) -> Array:
    """Colour [3, h, w] of a ramp at brightness `light` [h, w]: 0 shadow, 0.5 even, 1 full light."""
    deep, main, bright = (rgb(colour) for colour in ramp)
    lower, upper = clip(light * 2.0), clip(light * 2.0 - 1.0)
    return deep + (main - deep) * lower + (bright - main) * upper


def steps(field: Array) -> tuple[Array, Array, Array]:
    """Slope of a field [h, w] a pixel: its x part, its y part, and its length (never 0)."""
    across, down = np.zeros_like(field), np.zeros_like(field)
    across[:, 1:-1] = (field[:, 2:] - field[:, :-2]) * 0.5
    across[:, 0], across[:, -1] = across[:, 1], across[:, -2]
    down[1:-1] = (field[2:] - field[:-2]) * 0.5
    down[0], down[-1] = down[1], down[-2]
    return across, down, np.sqrt(across * across + down * down) + 1e-6
