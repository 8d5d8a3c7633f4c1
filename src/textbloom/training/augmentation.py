"""Pictures changed at random on the device, so that a small data set is seen as a larger one.

There are two kinds. `mirrored` and `cropped` change the training data: real pictures alone, before a step. An
`Augmentation` changes what the discriminator sees, real and generated pictures alike and differentiably, so that the
generator does not learn to make changed pictures (Zhao et al. 2020, arXiv 2006.10738; Karras et al. 2020, arXiv
2006.06676).
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from textbloom.core.seeding import generator_for

SHIFT = 1 / 8  # of the side, at most, in either direction
CUT = 1 / 5  # side of the square that is cut out, as a share of the picture's

# Pictures [B, C, S, S] in [-1, 1] and a stream of random numbers on their device, to pictures of the same shape; what
# stands in the channels of one picture is changed alike.
Augmentation = Callable[[Tensor, torch.Generator], Tensor]


def none(images: Tensor, stream: torch.Generator) -> Tensor:
    """The augmentation that changes nothing."""
    return images


def geometric(images: Tensor, stream: torch.Generator) -> Tensor:
    """Each picture mirrored or not, shifted by whole pixels, and with a square cut out, which is grey then.

    What leaves at one side is filled by reflection. Colours stay, because captions name them.
    """
    count, _, side, _ = images.shape
    device = images.device
    most = round(SHIFT * side)
    mirror = torch.randint(0, 2, (count,), generator=stream, device=device)
    shift = torch.randint(-most, most + 1, (count, 2), generator=stream, device=device)
    corner = torch.rand(count, 2, generator=stream, device=device) * (1 - CUT)
    # Coordinates of a picture go from -1 to 1: width first, then height.
    transform = torch.zeros(count, 2, 3, device=device)
    transform[:, 0, 0] = 1.0 - 2.0 * mirror
    transform[:, 1, 1] = 1.0
    transform[:, :, 2] = shift * (2.0 / side)
    places = F.affine_grid(transform, list(images.shape), align_corners=False)
    moved = F.grid_sample(images, places, mode="nearest", padding_mode="reflection", align_corners=False)
    axis = (torch.arange(side, device=device) + 0.5) / side
    inside = (axis >= corner[:, :, None]) & (axis < corner[:, :, None] + CUT)
    return moved.masked_fill((inside[:, 1, :, None] & inside[:, 0, None, :])[:, None], 0.0)


AUGMENTATIONS: dict[str, Augmentation] = {"none": none, "geometric": geometric}


def mirror_choices(count: int, seed: int, epoch: int) -> Tensor:
    """For each of `count` pictures whether it is mirrored in this epoch (numbered from 0), bool [count]: half are."""
    return torch.rand(count, generator=generator_for(seed, "flips", epoch)) < 0.5


def mirrored(images: Tensor, which: Tensor) -> Tensor:
    """Pictures [B, 3, S, S], those of `which`, bool [B], mirrored left to right."""
    return torch.where(which[:, None, None, None], images.flip(3), images)


def crop_corners(count: int, margin: int, seed: int, epoch: int) -> Tensor:
    """Row and column at which each of `count` pictures is cut in this epoch, 0 to `margin`, int64 [count, 2]."""
    return torch.randint(0, margin + 1, (count, 2), generator=generator_for(seed, "crops", epoch))


def cropped(images: Tensor, corners: Tensor, size: int) -> Tensor:
    """Of pictures [B, 3, L, L] the squares [B, 3, size, size] whose first pixels are at `corners`, int64 [B, 2]."""
    places = corners[:, :, None] + torch.arange(size, device=images.device)
    each = torch.arange(len(images), device=images.device)[:, None, None]
    return images.movedim(1, 3)[each, places[:, 0, :, None], places[:, 1, None]].movedim(3, 1)
