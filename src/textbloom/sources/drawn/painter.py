"""From a flower's attributes to its picture."""

import numpy as np

from textbloom.sources.drawn import background, centre, petals
from textbloom.sources.drawn.arithmetic import TURN, Array, clip, smoothstep
from textbloom.sources.drawn.attributes import PETAL_COLOURS, Flower, Ramp
from textbloom.sources.drawn.canvas import SIDE, Canvas, Light
from textbloom.sources.drawn.petals import Blade, Colouring, Frame, Outline

_OUTLINES = {
    "round": Outline(fullness=1.12, base=0.3, widest=0.6, pointed=0.0),
    "pointed": Outline(base=0.42, widest=0.42, pointed=0.85),
    "heart-shaped": Outline(fullness=1.1, base=0.22, widest=0.66, pointed=0.0, notch=0.16),
    "long": Outline(fullness=0.95, base=0.5, widest=0.74, pointed=0.12),
    "cupped": Outline(fullness=1.35, base=0.6, widest=0.5, pointed=0.4),
    "ruffled": Outline(fullness=1.2, base=0.36, widest=0.66, pointed=0.0, ruffle=0.09),
    "broad": Outline(base=0.3, widest=0.56, pointed=0.3),
}
_TINTS = {"warm": (1.02, 0.99, 0.93), "neutral": (1.0, 1.0, 1.0), "cool": (0.96, 0.99, 1.03)}
_LEAVES: dict[str, Ramp] = {
    "foliage": ((24, 58, 30), (66, 122, 54), (138, 182, 92)),
    "bokeh": ((48, 92, 56), (94, 146, 82), (160, 196, 122)),
    "sky": ((44, 92, 50), (92, 148, 72), (160, 200, 112)),
    "dark": ((12, 30, 22), (36, 70, 46), (84, 124, 78)),
    "soil": ((40, 62, 28), (88, 120, 54), (146, 174, 92)),
}
_LEAF = Outline(base=0.15, widest=0.4, pointed=0.8)


def paint(flower: Flower, rng: np.random.Generator) -> Array:
    """Draw a flower: uint8 [128, 128, 3]. `rng` gives what the attributes leave open, such as each petal's own bend."""
    behind = Canvas(SIDE)
    background.paint(behind, flower.background, rng)
    canvas = Canvas.over(behind)
    light = Light.coming_from(flower.light_direction, _TINTS[flower.light])
    frame = Frame(flower.shift_x, flower.shift_y, flower.tilt, flower.tilt_direction)
    _leaves(canvas, flower, frame, light, rng)
    _drop_shadow(canvas, flower, frame, light)
    for layer in range(flower.layers):
        _petals(canvas, flower, frame, layer, light, rng)
    centre.paint(canvas, flower, frame, light, rng)
    _air(canvas, light)
    return canvas.picture()


def _leaves(canvas: Canvas, flower: Flower, frame: Frame, light: Light, rng: np.random.Generator) -> None:
    count = int(rng.integers(3, 6))
    turn = float(rng.random())
    colouring = Colouring(_LEAVES[flower.background], veins=4, vein_strength=0.2, crease=0.5, softness=3.0, shadow=0.4)
    for place in range(count):
        jitter, long, wide, phase = (float(value) for value in rng.random(4))
        blade = Blade(
            angle=turn + (place + 0.6 * (jitter - 0.5)) / count,
            length=flower.radius * (1.0 + 0.25 * long),
            half_width=0.17 + 0.1 * wide,
            phase=phase,
            start=0.2,
            bend=(jitter - 0.5) * 0.3,
        )
        petals.paint(canvas, frame, blade, _LEAF, colouring, light)


def _drop_shadow(canvas: Canvas, flower: Flower, frame: Frame, light: Light) -> None:
    x, y = frame.plane(canvas.x + light.x * 0.16, canvas.y + light.y * 0.16)
    away = np.sqrt(x * x + y * y) / flower.radius
    canvas.darken(canvas.everywhere, smoothstep((1.12 - away) * 2.2) * 0.5)


def _petals(canvas: Canvas, flower: Flower, frame: Frame, layer: int, light: Light, rng: np.random.Generator) -> None:
    count = flower.petals if flower.shape != "long" or layer == 0 else flower.petals - 3
    length = flower.radius * (1.0, 0.8, 0.6)[layer]
    half_width = min(_OUTLINES[flower.shape].fullness * length * 0.66 * TURN / (2 * count), 0.6 * length)
    colouring = Colouring(
        ramp=PETAL_COLOURS[flower.petal_colour],
        veins=2 if flower.shape == "long" else 5,
        vein_strength=0.14,
        second=PETAL_COLOURS[flower.second_colour] if flower.second_colour else None,
        pattern=flower.pattern,
        droop=1.25 if flower.shape == "cupped" else 0.95,
        brightness=0.05 * layer,
    )
    # Every other petal lies on top, as in a bud with overlapping edges.
    order = [*range(0, count, 2), *range(1, count, 2)]
    jitters = rng.random((count, 5))
    for place in order:
        turn, long, wide, phase, bend = (float(value) - 0.5 for value in jitters[place])
        blade = Blade(
            angle=flower.rotation + (place + 0.5 * layer + 0.16 * turn) / count,
            length=length * (1.0 + 0.07 * (long - 0.5)),
            half_width=half_width * (1.0 + 0.12 * wide),
            phase=phase,
            bend=bend * 0.12,
        )
        petals.paint(canvas, frame, blade, _OUTLINES[flower.shape], colouring, light)


def _air(canvas: Canvas, light: Light) -> None:
    """The tint of the light, and a faint glow from its side."""
    glow = clip((canvas.x * light.x + canvas.y * light.y) * 0.6 + 0.1) * 0.1
    canvas.mix(canvas.everywhere, glow, np.array([1.0, 0.98, 0.9], np.float32).reshape(3, 1, 1))
    canvas.pixels *= np.array(light.tint, np.float32).reshape(3, 1, 1)
