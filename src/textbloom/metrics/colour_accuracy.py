"""Whether drawn flowers have the colours that their captions name: measured in pixels, without a learned model.

A pixel is given the palette colour nearest to it in CIELAB (D65, CIE 15:2004), along the colour's whole ramp from shade
to full light. The pixels of a ring vote on the petals' colour, those of a small disc on the centre's; pixels that look
more like the background than like any colour have no vote.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from textbloom.core.errors import UserError
from textbloom.core.files import read_json
from textbloom.core.seeding import derangement
from textbloom.metrics.base import Estimate, Evaluation, Values, mean_of

# Radii in half sides. Flowers stand within 0.035 of the middle; their petals reach 0.7, their centres 0.16 or further.
_RINGS = {"petal": (0.34, 0.62), "centre": (0.0, 0.13)}
_RAMP_STEPS = 5
_VOTE_WIDTH = 14.0  # distance in CIELAB at which a pixel's vote falls to a half

_NAMES = {"petal_colour": str, "centre_colour": str}


def measure(evaluation: Evaluation) -> Values:
    """`petal_colour_accuracy` and `centre_colour_accuracy`; of pictures whose attributes are not known, nothing.

    Each is given also of the drawn originals (`_real`: what the measure itself reaches) and with the names shuffled
    among the pictures (`_shuffled`: what a generator that ignores its caption would reach).
    """
    real = evaluation.real
    if real.attributes is None:
        return {}
    palette = Palette.read(real.attributes / "palette.json")
    table = _attributes(real.attributes / "attributes.csv", real.image_ids)
    order = derangement(len(table), real.seed, "shuffled captions").tolist()
    metrics = {}
    for part in ("petal", "centre"):
        names = table[f"{part}_colour"].tolist()
        shown = palette.measured(evaluation.generated, part)
        metrics[f"{part}_colour_accuracy"] = _agreement(shown, names)
        metrics[f"{part}_colour_accuracy_real"] = _agreement(palette.measured(real.images, part), names)
        metrics[f"{part}_colour_accuracy_shuffled"] = _agreement(shown, [names[i] for i in order])
    return metrics


def _attributes(path: Path, image_ids: Sequence[int]) -> pd.DataFrame:
    try:
        table = pd.read_csv(path, index_col="image_id", dtype=_NAMES, keep_default_na=False)
        return table.loc[list(image_ids)]
    except FileNotFoundError:
        raise UserError(f"{path} is missing: run `make repro`, which draws it") from None
    except KeyError as error:
        raise UserError(f"{path} lacks {error}: delete its folder and run `make repro`") from None


def _agreement(shown: Sequence[str], named: Sequence[str]) -> Estimate:
    return mean_of(torch.tensor([a == b for a, b in zip(shown, named, strict=True)]))


@dataclass(frozen=True)
class Palette:
    """The colours that the drawing has names for.

    petal, centre: of each name the colour in shadow, in even light and in full light, sRGB 0 to 255, [3, 3].
    between_petals: colours of leaves and shadow that show between petals, [K, 3].
    """

    petal: dict[str, np.ndarray]
    centre: dict[str, np.ndarray]
    between_petals: np.ndarray

    @classmethod
    def read(cls, path: Path) -> "Palette":
        """The palette that the drawing left beside its archives."""
        table = read_json(path)
        petal, centre = [
            {name: np.array(ramp, np.float64) for name, ramp in table[part].items()} for part in ("petal", "centre")
        ]
        return cls(petal, centre, np.array(table["between_petals"], np.float64))

    def measured(self, images: np.ndarray | torch.Tensor, part: str) -> list[str]:
        """The name of each picture's colour, of uint8 [N, 3, S, S] with S >= 32; `part` is "petal" or "centre"."""
        names = list(getattr(self, part))
        return [names[int(self.votes(picture, part).sum(axis=0).argmax())] for picture in np.asarray(images)]

    def votes(self, picture: np.ndarray, part: str) -> np.ndarray:
        """What each pixel of the part's ring, row by row, gives each of the part's colours, [P, names], 0 to 1."""
        lab = cielab(picture[:, ring(picture.shape[-1], part)].T)
        distance = np.stack([_nearest(lab, _along(ramp)) for ramp in getattr(self, part).values()], axis=1)
        best = distance.min(axis=1)
        # A pixel far from every colour says little; one nearer to the background says nothing.
        weight = 1.0 / (1.0 + np.square(best / _VOTE_WIDTH))
        if part == "petal":
            weight = weight * (best <= _nearest(lab, cielab(self.between_petals)))
        return weight[:, None] * (distance.argmin(axis=1)[:, None] == np.arange(distance.shape[1]))


def ring(side: int, part: str) -> np.ndarray:
    """Which pixels of a picture have a vote on the colour of a part, "petal" or "centre", bool [side, side]."""
    axis = (np.arange(side) + 0.5) * (2.0 / side) - 1.0
    away = np.sqrt(np.square(axis)[:, None] + np.square(axis)[None, :])
    least, most = _RINGS[part]
    return (away >= least) & (away <= most)


def _along(ramp: np.ndarray) -> np.ndarray:
    """Points [2·steps − 1, 3] in CIELAB from shadow over even light to full light."""
    share = np.linspace(0.0, 1.0, _RAMP_STEPS)[:, None]
    deep, main, bright = ramp
    return cielab(np.concatenate([deep + (main - deep) * share, (main + (bright - main) * share)[1:]]))


def _nearest(lab: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Distance [P] of each colour [P, 3] to the nearest of the points [K, 3]."""
    return np.sqrt(np.square(lab[:, None, :] - points[None, :, :]).sum(axis=2).min(axis=1))


_TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
_D65 = np.array([0.95047, 1.0, 1.08883])


def cielab(srgb: np.ndarray) -> np.ndarray:
    """CIELAB (L 0 to 100) of sRGB values 0 to 255, [..., 3]. IEC 61966-2-1 for the transfer curve, CIE 15:2004."""
    value = srgb / 255.0
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    relative = linear @ _TO_XYZ.T / _D65
    f = np.where(relative > (6 / 29) ** 3, np.cbrt(relative), relative / (3 * (6 / 29) ** 2) + 4 / 29)
    x, y, z = f[..., 0], f[..., 1], f[..., 2]
    return np.stack([116.0 * y - 16.0, 500.0 * (x - y), 200.0 * (y - z)], axis=-1)
