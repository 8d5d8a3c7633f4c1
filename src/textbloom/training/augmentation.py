"""Pictures changed at random on the device, so that a small data set is seen as a larger one."""

import torch
from torch import Tensor

from textbloom.core.seeding import generator_for


def coins(count: int, seed: int, epoch: int) -> Tensor:
    """For each of `count` pictures whether it is mirrored in this epoch (numbered from 0), bool [count]: half are."""
    return torch.rand(count, generator=generator_for(seed, "flips", epoch)) < 0.5


def flipped(images: Tensor, which: Tensor) -> Tensor:
    """Pictures [B, 3, S, S], those of `which`, bool [B], mirrored left to right."""
    return torch.where(which[:, None, None, None], images.flip(3), images)
