"""What a drawn flower can be: palettes, classes, and the sampling of one flower's attributes."""

from dataclasses import dataclass

import numpy as np

RGB = tuple[int, int, int]
Ramp = tuple[RGB, RGB, RGB]  # sRGB in shadow, in even light, in full light

PETAL_COLOURS: dict[str, Ramp] = {
    "white": ((176, 182, 206), (238, 238, 242), (255, 255, 252)),
    "yellow": ((216, 156, 8), (250, 210, 28), (255, 242, 120)),
    "orange": ((204, 78, 4), (246, 128, 16), (255, 178, 76)),
    "red": ((124, 4, 16), (208, 18, 30), (240, 72, 62)),
    "pink": ((218, 98, 140), (247, 156, 186), (255, 212, 224)),
    "magenta": ((132, 4, 88), (212, 20, 134), (246, 88, 176)),
    "purple": ((58, 16, 110), (112, 40, 172), (164, 96, 214)),
    "blue": ((20, 36, 130), (44, 84, 212), (112, 154, 246)),
    "lavender": ((142, 118, 204), (188, 168, 236), (224, 212, 252)),
}
CENTRE_COLOURS: dict[str, Ramp] = {
    "yellow": ((196, 122, 4), (248, 198, 26), (255, 238, 124)),
    "white": ((178, 180, 190), (238, 238, 232), (255, 255, 250)),
    "green": ((58, 100, 20), (124, 174, 46), (192, 222, 104)),
    "brown": ((50, 24, 10), (106, 60, 26), (160, 104, 56)),
    "purple": ((38, 10, 64), (88, 30, 124), (146, 86, 188)),
}
# The background's leaves and shadow as they show between petals.
BETWEEN_PETALS: tuple[RGB, ...] = (
    (36, 70, 46), (66, 122, 54), (94, 146, 82), (20, 30, 32), (88, 64, 48), (120, 150, 110),
)  # fmt: skip
# Pairs too alike to tell apart by eye.
_ALIKE = {("white", "white"), ("yellow", "yellow"), ("purple", "purple"), ("magenta", "purple"), ("blue", "purple")}

CLASSES: tuple[tuple[str, str], ...] = tuple(
    (petal, centre) for petal in PETAL_COLOURS for centre in CENTRE_COLOURS if (petal, centre) not in _ALIKE
)
# Every petal and every centre colour is among the test classes and, in other pairs, among the training classes.
_TEST_CENTRES = ("purple", "green", "white", "yellow", "brown", "green", "white", "yellow", "brown")
TEST_CLASSES = set(zip(PETAL_COLOURS, _TEST_CENTRES, strict=True))
VALIDATION_CLASSES = {("yellow", "purple"), ("red", "white"), ("pink", "green"), ("lavender", "yellow")}

PETAL_COUNTS = {  # petals of the outer layer by shape, both ends included
    "round": (5, 8),
    "pointed": (5, 11),
    "heart-shaped": (5, 6),
    "long": (13, 24),
    "cupped": (5, 6),
    "ruffled": (5, 8),
    "broad": (4, 5),
}
MOST_LAYERS = {"round": 2, "pointed": 3, "heart-shaped": 1, "long": 2, "cupped": 2, "ruffled": 3, "broad": 1}
PATTERNS = ("plain", "plain", "plain", "veins", "edge", "base")
# The colour of a second-colour pattern: near enough to look natural, far enough to be seen.
SECOND_COLOURS = {
    "white": ("pink", "lavender", "yellow"),
    "yellow": ("orange", "red"),
    "orange": ("red", "yellow"),
    "red": ("orange", "yellow"),
    "pink": ("magenta", "white"),
    "magenta": ("white", "pink"),
    "purple": ("lavender", "white"),
    "blue": ("white", "lavender"),
    "lavender": ("purple", "white"),
}
BACKGROUNDS = ("foliage", "bokeh", "sky", "dark", "soil")
CENTRE_SIZES = {"small": 0.2, "medium": 0.245, "large": 0.29}  # radius by flower radius
LIGHTS = ("warm", "neutral", "cool")


@dataclass(frozen=True)
class Flower:
    """Attributes of one picture; one row of attributes.csv. Lengths are in half sides, angles in turns."""

    image_id: int
    class_id: int  # 1 + index into CLASSES
    petal_colour: str
    centre_colour: str
    second_colour: str  # empty where pattern is plain
    pattern: str  # plain | veins | edge | base
    shape: str
    petals: int  # of the outer layer
    layers: int
    centre_size: str
    stamens: int  # 0: a plain disc
    background: str
    radius: float
    shift_x: float
    shift_y: float
    rotation: float
    tilt: float  # shortest by longest diameter
    tilt_direction: float
    light: str
    light_direction: float  # where the light comes from; 0 right, 0.25 below


def split(class_id: int) -> str:
    """train | val | test of a class, by its pair of colours."""
    pair = CLASSES[class_id - 1]
    return "test" if pair in TEST_CLASSES else "val" if pair in VALIDATION_CLASSES else "train"


def class_ids(count: int, seed: int) -> list[int]:
    """The class of each of `count` images: every run of len(CLASSES) images holds each class once, in random order."""
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, 0])))
    ids: list[int] = []
    while len(ids) < count:
        keys = rng.random(len(CLASSES))
        ids.extend(int(place) + 1 for place in np.argsort(keys, kind="stable"))
    return ids[:count]


def sample(rng: np.random.Generator, image_id: int, class_id: int) -> Flower:
    """Draw the attributes of one flower of a class."""
    petal, centre = CLASSES[class_id - 1]
    shape = _one(rng, tuple(PETAL_COUNTS))
    fewest, most = PETAL_COUNTS[shape]
    pattern = _one(rng, PATTERNS)
    seconds = tuple(name for name in SECOND_COLOURS[petal] if name != centre)
    second = _one(rng, seconds)
    # A blue flower would drown in the sky.
    background = _one(rng, tuple(name for name in BACKGROUNDS if (petal, name) != ("blue", "sky")))
    stamens = int(rng.integers(9, 19))
    return Flower(
        image_id=image_id,
        class_id=class_id,
        petal_colour=petal,
        centre_colour=centre,
        second_colour="" if pattern == "plain" else second,
        pattern=pattern,
        shape=shape,
        petals=int(rng.integers(fewest, most + 1)),
        layers=int(rng.integers(1, MOST_LAYERS[shape] + 1)),
        centre_size=_one(rng, tuple(CENTRE_SIZES)),
        stamens=stamens if shape != "long" and rng.random() < 0.5 else 0,
        background=background,
        radius=_between(rng, 0.80, 0.93),
        shift_x=_between(rng, -0.035, 0.035),
        shift_y=_between(rng, -0.035, 0.035),
        rotation=_between(rng, 0.0, 1.0),
        tilt=_between(rng, 0.88, 1.0),
        tilt_direction=_between(rng, 0.0, 0.5),
        light=_one(rng, LIGHTS),
        light_direction=_between(rng, 0.56, 0.94),
    )


def _one(rng: np.random.Generator, choices: tuple[str, ...]) -> str:
    return choices[int(rng.integers(len(choices)))]


def _between(rng: np.random.Generator, low: float, high: float) -> float:
    # Rounded, so that the table holds exactly the number that is drawn.
    return round(low + (high - low) * float(rng.random()), 4)
