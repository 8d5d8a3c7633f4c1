"""Whether drawn flowers come in as many numbers of petals as real ones do: counted in pixels, without a learned model.

Along a circle round the flower's middle its petals come and go as often as there are petals. So the number is the
frequency at which the colours along such circles vary most, of the frequencies that flowers have.
"""

import torch
from torch import Tensor
from torch.nn import functional

from textbloom.core.seeding import random_subset
from textbloom.metrics.base import Estimate, Evaluation, Values
from textbloom.metrics.colour_accuracy import cielab

FEWEST, MOST = 4, 24  # petals that a drawn flower has
RADII = torch.arange(0.5, 0.9, 0.05)  # half sides: where petals part, outside the centre and within the tips
_ANGLES = torch.arange(256) * (2 * torch.pi / 256)
# A petal with a notch in its tip varies twice: half the frequency counts where it has this share of the power.
_NOTCHED = 0.2
_BATCH = 64


def measure(evaluation: Evaluation) -> Values:
    """`petal_number_distance`: total variation distance between the numbers of petals, generated and real.

    It is 0 where each number is as frequent on both sides, 1 where they share none.
    `petal_number_distance_real` is that of as many other real pictures: two draws of one distribution differ too. Of
    pictures that were not drawn, nothing is given.
    """
    real = evaluation.real
    if real.attributes is None:
        return {}
    others = real.split.others.images
    wanted = counted(real.images)
    drawn = counted(others[random_subset(len(others), len(wanted), real.seed, "other petals")])
    generated = counted(evaluation.generated)
    return {
        "petal_number_distance": _distance(generated, wanted),
        "petal_number_distance_real": _distance(drawn, wanted),
    }


def counted(images: Tensor) -> Tensor:
    """The number of petals in each picture of uint8 [N, 3, S, S], int64 [N]; the flowers stand in the middle."""
    return torch.cat([_counted(batch) for batch in images.split(_BATCH)])


def _counted(images: Tensor) -> Tensor:
    power = powers(around(images))
    found = FEWEST + power[:, FEWEST : MOST + 1].argmax(1)
    of_found, of_half = (power.gather(1, number[:, None])[:, 0] for number in (found, found // 2))
    notched = (found % 2 == 0) & (found // 2 > FEWEST) & (of_half > _NOTCHED * of_found)
    return torch.where(notched, found // 2, found)


def around(images: Tensor) -> Tensor:
    """The pixels along circles of RADII round the middle, from the right clockwise, float [N, 3, R, 256]."""
    circles = RADII[:, None, None] * torch.stack([_ANGLES.cos(), _ANGLES.sin()], dim=-1)  # [R, A, 2]
    return functional.grid_sample(images.float(), circles.expand(len(images), -1, -1, -1), align_corners=False)


def powers(along: Tensor) -> Tensor:
    """How strongly the colours of `around` come and go so many times in a circle, [N, 129] from 0 times on."""
    lab = torch.from_numpy(cielab(along.permute(0, 2, 3, 1).double().numpy()))  # [N, R, A, 3]
    return torch.fft.rfft(lab, dim=2).abs().square().sum((1, 3))


def _distance(one: Tensor, other: Tensor) -> Estimate:
    """Half the sum of the differences between the shares that each number has."""

    def between(places: Tensor) -> float:
        a, b = (each[places].bincount(minlength=MOST + 1) / len(places) for each in (one, other))
        return float((a - b).abs().sum() / 2)

    return Estimate(between(torch.arange(len(one))), between, len(one), repeats=False)
