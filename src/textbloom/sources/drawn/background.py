"""What lies behind a flower, out of focus."""

import numpy as np

from textbloom.sources.drawn.arithmetic import Array, clip, smooth_noise, smoothstep
from textbloom.sources.drawn.attributes import RGB
from textbloom.sources.drawn.canvas import Canvas, rgb
from textbloom.sources.drawn.petals import soft_leaf

# Top, bottom, blurred blobs, blurred leaves.
_TONES: dict[str, tuple[RGB, RGB, tuple[RGB, ...], tuple[RGB, ...]]] = {
    "foliage": ((104, 146, 76), (26, 66, 46), ((176, 200, 108), (98, 148, 80), (206, 218, 140)),
                ((70, 122, 60), (36, 82, 50), (116, 160, 78))),
    "bokeh": ((190, 206, 154), (84, 134, 116), ((242, 236, 188), (196, 222, 180), (220, 234, 214)), ()),
    "sky": ((104, 160, 220), (206, 228, 240), ((246, 250, 252), (228, 240, 248)), ((104, 150, 90), (78, 126, 78))),
    "dark": ((42, 60, 62), (14, 22, 28), ((84, 116, 98), (70, 92, 96), (120, 120, 84)), ((30, 54, 44), (38, 66, 50))),
    "soil": ((164, 130, 98), (88, 64, 48), ((206, 172, 132), (134, 102, 76), (84, 62, 48)), ((96, 120, 66),)),
}  # fmt: skip


def paint(canvas: Canvas, kind: str, rng: np.random.Generator) -> None:
    """Fill the canvas with a soft background of the kind."""
    top, bottom, blobs, leaves = _TONES[kind]
    noise = smooth_noise(rng, 3, canvas.side)
    slope = (float(rng.random()) - 0.5) * 0.8
    share = smoothstep(canvas.y * 0.42 + canvas.x * slope * 0.4 + 0.5 + (noise - 0.5) * 0.5)
    canvas.pixels[:] = rgb(top) + (rgb(bottom) - rgb(top)) * share
    for _ in range(7 if leaves else 0):
        _leaf(canvas, leaves[int(rng.integers(len(leaves)))], rng)
    for _ in range(14 if kind == "bokeh" else 8):
        _blob(canvas, blobs[int(rng.integers(len(blobs)))], 0.5 if kind == "bokeh" else 0.34, rng)
    if kind == "soil":
        crumbs = smooth_noise(rng, 22, canvas.side) * 0.6 + smooth_noise(rng, 48, canvas.side) * 0.4
        canvas.darken(canvas.everywhere, (crumbs - 0.5) * 0.4)
    if kind == "sky":
        cloud = smoothstep((smooth_noise(rng, 4, canvas.side) - 0.45) * 2.6)
        canvas.mix(canvas.everywhere, cloud * 0.5, rgb((248, 250, 252)))
    reach = canvas.x * canvas.x + canvas.y * canvas.y
    canvas.darken(canvas.everywhere, clip(reach - 0.7) * 0.22)


def _leaf(canvas: Canvas, colour: RGB, rng: np.random.Generator) -> None:
    x, y, turn, size, slim, soft = (float(value) for value in rng.random(6))
    field = soft_leaf(
        canvas.x - (x * 2.6 - 1.3), canvas.y - (y * 2.6 - 1.3), turn, 0.7 + size * 0.7, 0.09 + slim * 0.12
    )
    canvas.mix(canvas.everywhere, smoothstep(0.5 - field / (0.06 + 0.1 * soft)) * 0.75, rgb(colour))


def _blob(canvas: Canvas, colour: RGB, strength: float, rng: np.random.Generator) -> None:
    x, y, size, fade = (float(value) for value in rng.random(4))
    x, y, radius = x * 2.4 - 1.2, y * 2.4 - 1.2, 0.1 + 0.2 * size
    window = canvas.around(x - radius * 1.3, x + radius * 1.3, y - radius * 1.3, y + radius * 1.3)
    dx, dy = canvas.x[window] - x, canvas.y[window] - y
    away = np.sqrt(dx * dx + dy * dy) / radius
    # Out-of-focus lights are discs with a slightly brighter rim.
    disc: Array = smoothstep((1.1 - away) * 4.0) * (0.6 + 0.4 * clip(away))
    canvas.mix(window, disc * (strength * (0.4 + 0.6 * fade)), rgb(colour))
