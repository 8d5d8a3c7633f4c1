"""Pictures changed at random on the device, so that a small data set is seen as a larger one.

There are two kinds. `mirrored` changes the training data: real pictures alone, before a step. An `Augmentation` changes
what the discriminator sees, real and generated pictures alike and differentiably, so that the generator does not learn
to make changed pictures (Zhao et al. 2020, arXiv 2006.10738; Karras et al. 2020, arXiv 2006.06676).
"""

from collections.abc import Callable

import torch
from torch import Tensor

from textbloom.core.seeding import generator_for

# Pictures [B, 3, S, S] in [-1, 1] and a stream of random numbers on their device, to pictures of the same shape.
Augmentation = Callable[[Tensor, torch.Generator], Tensor]


def none(images: Tensor, stream: torch.Generator) -> Tensor:
    """The augmentation that changes nothing."""
    return images


def mirror_choices(count: int, seed: int, epoch: int) -> Tensor:
    """For each of `count` pictures whether it is mirrored in this epoch (numbered from 0), bool [count]: half are."""
    return torch.rand(count, generator=generator_for(seed, "flips", epoch)) < 0.5


def mirrored(images: Tensor, which: Tensor) -> Tensor:
    """Pictures [B, 3, S, S], those of `which`, bool [B], mirrored left to right."""
    return torch.where(which[:, None, None, None], images.flip(3), images)
