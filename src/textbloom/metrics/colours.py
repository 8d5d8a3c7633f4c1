"""Colours of drawn flowers, measured in the picture: no learned model, only pixels and the palette's names.

A pixel is given the palette colour nearest to it in CIELAB (D65, CIE 15:2004), along the colour's whole ramp from shade
to full light. The pixels of a ring vote on the petals' colour, those of a small disc on the centre's; pixels that look
more like the background than like any colour have no vote.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from textbloom.sources.drawn.attributes import CENTRE_COLOURS, PETAL_COLOURS, Ramp

# Radii in half sides. Flowers stand within 0.035 of the middle; their petals reach 0.7, their centres 0.16 or further.
_PETAL_RING = (0.34, 0.62)
_CENTRE_DISC = (0.0, 0.13)
# Leaves and the backgrounds' shadow that show between petals, sRGB.
_BETWEEN_PETALS = ((36, 70, 46), (66, 122, 54), (94, 146, 82), (20, 30, 32), (88, 64, 48), (120, 150, 110))
_RAMP_STEPS = 5
_VOTE_WIDTH = 14.0  # distance in CIELAB at which a pixel's vote falls to a half

Images = np.ndarray | torch.Tensor


def measured_petal_colour(images: Images) -> list[str]:
    """The petal colour's name of each picture, uint8 [N, 3, S, S] with S >= 32."""
    return _measured(images, PETAL_COLOURS, _PETAL_RING, _BETWEEN_PETALS)


def measured_centre_colour(images: Images) -> list[str]:
    """The centre colour's name of each picture, uint8 [N, 3, S, S] with S >= 32."""
    return _measured(images, CENTRE_COLOURS, _CENTRE_DISC, ())


_MEASURES = {"petal": measured_petal_colour, "centre": measured_centre_colour}


def colour_accuracy(images: Images, names: Sequence[str], which: str) -> float:
    """Share of pictures whose measured colour is the named one; `which` is "petal" or "centre"."""
    if len(images) != len(names) or not len(names):
        raise ValueError(f"expected one name a picture, got {len(names)} names for {len(images)} pictures")
    measured = _MEASURES[which](images)
    return sum(a == b for a, b in zip(measured, names, strict=True)) / len(names)


def _measured(
    images: Images, palette: Mapping[str, Ramp], ring: tuple[float, float], others: Sequence[tuple[int, int, int]]
) -> list[str]:
    pixels = _ring_pixels(np.asarray(images), ring)
    names = list(palette)
    prototypes = [_along(ramp) for ramp in palette.values()]
    found = []
    for picture in pixels:
        lab = cielab(picture)
        distance = np.stack([_nearest(lab, prototype) for prototype in prototypes], axis=1)
        best = distance.min(axis=1)
        # A pixel far from every colour says little; one nearer to the background says nothing.
        weight = 1.0 / (1.0 + np.square(best / _VOTE_WIDTH))
        if others:
            weight = weight * (best <= _nearest(lab, cielab(np.array(others, np.float64))))
        votes = np.bincount(distance.argmin(axis=1), weights=weight, minlength=len(names))
        found.append(names[int(votes.argmax())])
    return found


def _ring_pixels(images: np.ndarray, ring: tuple[float, float]) -> np.ndarray:
    """Pixels [N, P, 3] whose distance from the middle lies within the ring."""
    if images.ndim != 4 or images.shape[1] != 3 or images.shape[2] != images.shape[3] or images.dtype != np.uint8:
        raise ValueError(f"expected uint8 pictures [N, 3, S, S], got {images.dtype} {list(images.shape)}")
    axis = (np.arange(images.shape[-1]) + 0.5) * (2.0 / images.shape[-1]) - 1.0
    away = np.sqrt(np.square(axis)[:, None] + np.square(axis)[None, :])
    return np.moveaxis(images[:, :, (away >= ring[0]) & (away <= ring[1])], 1, 2)


def _along(ramp: Ramp) -> np.ndarray:
    """Points [2·steps − 1, 3] in CIELAB from shadow over even light to full light."""
    share = np.linspace(0.0, 1.0, _RAMP_STEPS)[:, None]
    deep, main, bright = (np.array(colour, np.float64) for colour in ramp)
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
