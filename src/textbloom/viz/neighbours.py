"""The training pictures that a picture resembles most: what a generator that memorises would give away."""

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

SIDE = 64  # pixels; larger pictures are averaged down to it
CHUNK = 1024


def nearest(queries: Tensor, gallery: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The `count` pictures of `gallery` uint8 [N, 3, S, S] nearest to each of `queries` uint8 [q, 3, S, S].

    Returns (indices int64 [q, count], distances float64 [q, count]), nearest first, the first in the gallery among
    equals. The distance is the root mean square difference of the pixel values (0 to 255) at 64×64.
    """
    assert queries.shape[1:] == gallery.shape[1:] and count <= len(gallery)
    wanted = _flat(queries)
    # |a - b|² = |a|² - 2ab + |b|². Pixels are whole numbers and every sum stays below 2^53: float64 is exact here.
    squares = torch.cat([_squared_distances(wanted, _flat(part)) for part in gallery.split(CHUNK)], dim=1)
    ordered, indices = squares.sort(dim=1, stable=True)
    return indices[:, :count], (ordered[:, :count] / wanted.shape[1]).sqrt()


def _squared_distances(a: Tensor, b: Tensor) -> Tensor:
    return a.square().sum(1, keepdim=True) - 2.0 * (a @ b.T) + b.square().sum(1)


def _flat(pictures: Tensor) -> Tensor:
    shrink = max(1, pictures.shape[-1] // SIDE)
    return avg_pool2d(pictures.float(), shrink).round().double().flatten(1)
