"""What every test may rely on: one thread's arithmetic, no leaked state."""

import pytest
import torch


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)
