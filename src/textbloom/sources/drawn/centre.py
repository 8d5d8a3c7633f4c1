"""The middle of a flower: a domed disc of florets, with or without a ring of stamens."""

import numpy as np

from textbloom.sources.drawn.arithmetic import clip, cosine, sine, smoothstep
from textbloom.sources.drawn.attributes import CENTRE_COLOURS, CENTRE_SIZES, PETAL_COLOURS, Flower, Ramp
from textbloom.sources.drawn.canvas import PIXEL, Canvas, Light, rgb, shaded
from textbloom.sources.drawn.petals import Frame

_GOLDEN = 0.3819660112501051  # golden angle in turns: the spiral of a sunflower's florets


def paint(canvas: Canvas, flower: Flower, frame: Frame, light: Light, rng: np.random.Generator) -> None:
    """Paint the flower's centre over its petals."""
    ramp, radius = CENTRE_COLOURS[flower.centre_colour], flower.radius * CENTRE_SIZES[flower.centre_size]
    if flower.stamens:
        _stamens(canvas, flower, frame, radius, light, rng)
        radius = radius * 0.86
    _dome(canvas, frame, radius, ramp, light)
    _florets(canvas, frame, radius, ramp, light, rng)


def _dome(canvas: Canvas, frame: Frame, radius: float, ramp: Ramp, light: Light) -> None:
    reach = radius * 1.8
    window = canvas.around(frame.x - reach, frame.x + reach, frame.y - reach, frame.y + reach)
    x, y = frame.plane(canvas.x[window], canvas.y[window])
    # The shadow lies away from the light.
    sx, sy = x + light.x * radius * 0.3, y + light.y * radius * 0.3
    cast = smoothstep(1.0 - (np.sqrt(sx * sx + sy * sy) - radius) / (radius * 0.45))
    canvas.darken(window, cast * 0.42)
    nx, ny = x / radius, y / radius
    away = np.sqrt(nx * nx + ny * ny)
    height = np.sqrt(np.maximum(1.15 - away * away, 0.0))
    lit = (nx * light.x + ny * light.y) * 0.55 + height * 0.32 + 0.14
    canvas.mix(window, clip(0.5 - (away - 1.0) * (radius / PIXEL)), shaded(ramp, lit))


def _florets(canvas: Canvas, frame: Frame, radius: float, ramp: Ramp, light: Light, rng: np.random.Generator) -> None:
    count = 46 + int(radius * 140.0)
    place = np.arange(count, dtype=np.float32)
    away = np.sqrt((place + 0.5) / count)
    turns = place * _GOLDEN + float(rng.random())
    x, y = cosine(turns) * away, sine(turns) * away
    glow = 0.5 + (x * light.x + y * light.y) * 0.42 + (rng.random(count).astype(np.float32) - 0.5) * 0.22
    # The youngest florets, in the very middle, are tight and dark.
    glow = glow - 0.18 * np.maximum(1.0 - away * 2.6, 0.0)
    size = 0.085 + 0.04 * away
    x, y = x * 0.97, y * 0.97

    reach = radius * 1.2
    window = canvas.around(frame.x - reach, frame.x + reach, frame.y - reach, frame.y + reach)
    px, py = frame.plane(canvas.x[window], canvas.y[window])
    dx, dy = (px / radius)[None] - x[:, None, None], (py / radius)[None] - y[:, None, None]  # [count, h, w]
    squares = dx * dx + dy * dy
    nearest = squares.argmin(axis=0)
    edge = np.sqrt(squares.min(axis=0)) / size[nearest] - 1.0
    canvas.darken(window, clip(0.5 - edge) * 0.4)
    lean = ((px / radius - x[nearest]) * light.x + (py / radius - y[nearest]) * light.y) / size[nearest]
    lit = glow[nearest] + lean * 0.34
    canvas.mix(window, clip(0.5 - edge * size[nearest] * (radius / PIXEL)), shaded(ramp, lit))


def _stamens(
    canvas: Canvas, flower: Flower, frame: Frame, radius: float, light: Light, rng: np.random.Generator
) -> None:
    for place in range(flower.stamens):
        angle = (place + 0.5 * float(rng.random())) / flower.stamens
        reach = radius * (1.25 + 0.35 * float(rng.random()))
        x, y = cosine(angle), sine(angle)
        tip, foot = frame.picture(x * reach, y * reach), frame.picture(x * radius * 0.6, y * radius * 0.6)
        _filament(canvas, foot, tip, PETAL_COLOURS[flower.petal_colour])
        glow = 0.55 + (x * light.x + y * light.y) * 0.3
        _bead(canvas, *tip, radius * 0.16, CENTRE_COLOURS[flower.centre_colour], glow, light)


def _filament(canvas: Canvas, start: tuple[float, float], end: tuple[float, float], petal: Ramp) -> None:
    (x0, y0), (x1, y1) = start, end
    margin = 3 * PIXEL
    window = canvas.around(min(x0, x1) - margin, max(x0, x1) + margin, min(y0, y1) - margin, max(y0, y1) + margin)
    dx, dy = x1 - x0, y1 - y0
    x, y = canvas.x[window] - x0, canvas.y[window] - y0
    along = clip((x * dx + y * dy) / (dx * dx + dy * dy))
    ox, oy = x - along * dx, y - along * dy
    distance = np.sqrt(ox * ox + oy * oy) / PIXEL
    canvas.darken(window, clip(1.0 - distance / 3.5) * 0.35)
    pale = rgb(petal[2]) * 0.6 + rgb((250, 246, 214)) * 0.4
    canvas.mix(window, clip(1.5 - distance), pale)


def _bead(canvas: Canvas, x: float, y: float, radius: float, ramp: Ramp, glow: float, light: Light) -> None:
    reach = radius * 1.6
    window = canvas.around(x - reach, x + reach, y - reach, y + reach)
    dx, dy = (canvas.x[window] - x) / radius, (canvas.y[window] - y) / radius
    away = np.sqrt(dx * dx + dy * dy)
    canvas.darken(window, clip(1.5 - away) * 0.22)
    lit = glow + (dx * light.x + dy * light.y) * 0.3
    canvas.mix(window, clip(0.5 - (away - 1.0) * (radius / PIXEL)), shaded(ramp, lit))
