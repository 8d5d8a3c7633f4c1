"""Smooth random pictures, as photos are, for the tests of picture networks."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor


@pytest.fixture(scope="session")
def smooth_pictures() -> Callable[[int, int], Tensor]:
    """Makes pictures uint8 [count, 3, side, side], the same ones each time."""

    def make(count: int, side: int) -> Tensor:
        small = torch.rand(count, 3, 6, 6, generator=torch.Generator().manual_seed(3))
        return torch.nn.functional.interpolate(small, side, mode="bicubic").clamp(0, 1).mul(255).to(torch.uint8)

    return make
