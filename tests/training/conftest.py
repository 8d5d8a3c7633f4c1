"""Fixtures of the training room's tests."""

import pytest
import torch

from textbloom.training import loop
from textbloom.training.trainer import Trainer


@pytest.fixture(autouse=True)
def _one_thread():
    """Networks this small are slower on two threads, several times where another program uses the second core."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def _saves_each_step(monkeypatch):
    monkeypatch.setattr(loop, "SAVE_SECONDS", -1.0)
    monkeypatch.setattr(loop, "LOG_STEPS", 1)


@pytest.fixture
def after_each_step(monkeypatch):
    """Call the fixture with a function of (trainer, losses): the losses of each step are then what it returns."""
    advance = Trainer.advance

    def change(function):
        monkeypatch.setattr(Trainer, "advance", lambda self, *batch: function(self, advance(self, *batch)))

    return change
