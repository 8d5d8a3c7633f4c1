"""Petals and leaves: one blade with its outline, shading, veins, rim light and the shadow that it throws."""

from dataclasses import dataclass

import numpy as np

from textbloom.sources.drawn.arithmetic import Array, clip, cosine, sine, smoothstep
from textbloom.sources.drawn.attributes import Ramp
from textbloom.sources.drawn.canvas import PIXEL, Canvas, Light, Window, shaded, steps


@dataclass(frozen=True)
class Outline:
    """Half width along a blade: grows from `base` to 1 at `widest`, then narrows to the tip."""

    base: float
    widest: float  # share of the length
    pointed: float  # 0 a round tip, 1 a parabola's point
    fullness: float = 1.0  # half width by the half distance of neighbours at two thirds of the length; above 1: overlap
    notch: float = 0.0  # depth of the dent in the tip, share of the length
    ruffle: float = 0.0  # waviness of the edge

    def field(self, t: Array, side: Array, phase: float) -> tuple[Array, Array]:
        """Field, negative inside, and relative half width at `t` (0 base, 1 tip) and `side` (by greatest half width).

        The field bends gently everywhere, so that its value by its slope is a distance far outside too.
        """
        if self.notch:
            dent = clip(1.0 - np.abs(side) * 1.8)
            t = t + dent * dent * self.notch
        if self.ruffle:
            t = t + sine(side * 1.3 + phase) * (0.5 * self.ruffle)
            side = side / (1.0 + sine(t * 2.7 + side * 0.2 + phase) * self.ruffle)
        grown = self.base + (1.0 - self.base) * smoothstep(t / self.widest)
        s = np.maximum((t - self.widest) / (1.0 - self.widest), 0.0)
        below = np.maximum(-t, 0.0)
        reach = np.sqrt(side * side + s * s) * (1.0 - self.pointed) + (np.abs(side) + s * s) * self.pointed
        left = np.maximum(1.0 - s * s, 0.0)
        width = grown * (np.sqrt(left) * (1.0 - self.pointed) + left * self.pointed)
        return reach - grown + below * 4.0, np.maximum(width, 0.02)


@dataclass(frozen=True)
class Colouring:
    """How a blade is coloured."""

    ramp: Ramp
    veins: int  # pairs of veins
    vein_strength: float
    second: Ramp | None = None
    pattern: str = "plain"
    crease: float = 0.35  # depth of the fold along the middle
    droop: float = 0.9  # how far the blade bends from rising to falling
    softness: float = 1.0  # width of the edge in pixels
    shadow: float = 0.5  # strength of the shadow on what lies below
    brightness: float = 0.0


@dataclass(frozen=True)
class Frame:
    """The plane of a flower in the picture: its middle, and a squeeze by `tilt` along one direction."""

    x: float
    y: float
    tilt: float
    direction: float  # turns

    def plane(self, x: Array, y: Array) -> tuple[Array, Array]:
        """Flower coordinates of picture coordinates."""
        return self._scaled(x - self.x, y - self.y, 1.0 / self.tilt)

    def picture(self, x: float, y: float) -> tuple[float, float]:
        """Picture coordinates of a point of the flower's plane."""
        px, py = self._scaled(x, y, self.tilt)
        return px + self.x, py + self.y

    def _scaled(self, x, y, factor):  # type: ignore[no-untyped-def]  # floats or arrays alike
        dx, dy = cosine(self.direction), sine(self.direction)
        along = (x * dx + y * dy) * (factor - 1.0)
        return x + along * dx, y + along * dy


@dataclass(frozen=True)
class Blade:
    """A blade's place in its flower's plane; lengths in half sides, `phase` its individual irregularity in turns."""

    angle: float
    length: float
    half_width: float
    phase: float
    start: float = 0.0
    bend: float = 0.0  # sideways drift of the tip, by length


def paint(canvas: Canvas, frame: Frame, blade: Blade, outline: Outline, colouring: Colouring, light: Light) -> None:
    """Paint one blade over what is there, throwing its shadow first."""
    window = _window(canvas, frame, blade)
    x, y = frame.plane(canvas.x[window], canvas.y[window])
    ax, ay = cosine(blade.angle), sine(blade.angle)
    t = (x * ax + y * ay - blade.start) / blade.length
    side = (y * ax - x * ay - t * t * (blade.bend * blade.length)) / blade.half_width
    field, width = outline.field(t, side, blade.phase)
    gx, gy, slope = steps(field)
    distance = field / slope  # pixels, negative inside
    facing = (gx * light.x + gy * light.y) / slope  # of the edge towards the light
    near = clip(1.0 - distance / 11.0)
    canvas.darken(window, near * near * (0.35 + 0.65 * clip(0.3 - facing)) * colouring.shadow)

    inner = _covered(distance < colouring.softness)
    window = _within(window, inner)
    t, side, width, distance, facing = (array[inner] for array in (t, side, width, distance, facing))
    q = clip(side / width, -1.0, 1.0)
    brightness = _brightness(t, q, blade, colouring, (ax, ay), light)
    rim = clip(1.0 + distance / 6.0)
    brightness = brightness + rim * rim * clip(0.1 + facing) * 0.34
    colour = shaded(colouring.ramp, brightness)
    if colouring.second is not None:
        amount = _second(t, q, distance * (PIXEL / blade.half_width), colouring)
        colour = colour + amount * (shaded(colouring.second, brightness) - colour)
    canvas.mix(window, clip(0.5 - distance / colouring.softness), colour)


def _window(canvas: Canvas, frame: Frame, blade: Blade) -> Window:
    ax, ay = cosine(blade.angle), sine(blade.angle)
    wide = blade.half_width * 1.25
    near, far = blade.start - 0.03, blade.start + blade.length * 1.12
    drift = blade.bend * blade.length
    corners = [
        frame.picture(ax * u - ay * v, ay * u + ax * v)
        for u in (near, far)
        for v in (-wide + min(drift, 0.0), wide + max(drift, 0.0))
    ]
    margin = 12 * PIXEL
    xs, ys = [corner[0] for corner in corners], [corner[1] for corner in corners]
    return canvas.around(min(xs) - margin, max(xs) + margin, min(ys) - margin, max(ys) + margin)


def _covered(inside: Array) -> Window:
    """The smallest window within which all true values lie."""
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    if not len(rows):
        return slice(0, 0), slice(0, 0)
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def _within(window: Window, inner: Window) -> Window:
    (rows, columns), (r, c) = window, inner
    return slice(rows.start + r.start, rows.start + r.stop), slice(columns.start + c.start, columns.start + c.stop)


def _brightness(
    t: Array, q: Array, blade: Blade, colouring: Colouring, axis: tuple[float, float], light: Light
) -> Array:
    # A bent, creased sheet: slopes along and across it, lit by a distant lamp.
    along = colouring.droop * (t - 0.42)
    across = q * (0.75 - colouring.crease) + np.copysign(colouring.crease * clip(1.0 - np.abs(q) * 3.0), q)
    lamp_u = light.x * axis[0] + light.y * axis[1]
    lamp_v = light.y * axis[0] - light.x * axis[1]
    lit = (along * lamp_u + across * lamp_v + light.z) / np.sqrt(along * along + across * across + 1.0)
    streaks = sine(q * 2.6 + t * 0.3 + blade.phase * 3.0) * 0.035
    base = clip(1.0 - t * 1.9)
    # Thin tips let light through; each blade hangs a little differently.
    even = 0.41 - light.z * 1.15 + colouring.brightness + sine(blade.phase) * 0.06
    value = lit * 1.15 + streaks - base * base * 0.55 + t * 0.2 + even
    return value - _veins(t, q, colouring.veins) * colouring.vein_strength


def _veins(t: Array, q: Array, pairs: int) -> Array:
    """1 on a vein, 0 between; veins fan out from the base and fade towards edge and tip."""
    spread = q * pairs
    between = np.abs(spread - np.floor(spread + 0.5)) * 2.0
    fade = clip(1.25 - t) * clip(t * 6.0) * clip((1.0 - np.abs(q)) * 4.0)
    return clip(1.0 - between * 2.6) * fade


def _second(t: Array, q: Array, depth: Array, colouring: Colouring) -> Array:
    """How much of the second colour shows, 0 to 1; `depth` is the distance from the edge by the half width."""
    if colouring.pattern == "veins":
        return _veins(t, q, colouring.veins) * 0.85
    if colouring.pattern == "edge":
        return smoothstep(1.0 + depth * 3.6) * smoothstep((t - 0.25) * 2.0) * 0.9
    flame = clip(0.5 - t + clip(1.0 - np.abs(q) * 1.5) * 0.12)
    return smoothstep(flame * 4.5) * 0.85


def soft_leaf(x: Array, y: Array, axis: float, length: float, half_width: float) -> Array:
    """Distance-like field of an out-of-focus leaf that starts at the origin: negative inside, in half sides."""
    ax, ay = cosine(axis), sine(axis)
    t = (x * ax + y * ay) / length
    return np.abs(y * ax - x * ay) - half_width * 4.0 * t * (1.0 - t)
