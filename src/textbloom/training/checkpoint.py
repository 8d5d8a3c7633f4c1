"""The state of an unfinished training run: networks, average, optimizers, step, and what was logged so far."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from textbloom.core import checkpoint
from textbloom.core.checkpoint import file as file
from textbloom.training.trainer import Trainer


def save(path: Path, trainer: Trainer, history: Mapping[str, Any], sheets: Tensor) -> None:
    """Write all that decides the rest of the run, the JSON-like `history` and the progress pictures so far (uint8).

    Of several ranks, whose states are the same, the first alone writes.
    """
    if trainer.ranks.first:
        notes = {"step": trainer.step, "history": history}
        checkpoint.save(path, networks(trainer), trainer.optimizers, notes, {"sheets": sheets})


def restore(path: Path, trainer: Trainer) -> tuple[dict[str, Any], Tensor]:
    """Set `trainer` to the state saved in `path`; returns (history, sheets). A missing file is a UserError."""
    notes, tensors = checkpoint.restore(path, networks(trainer), trainer.optimizers)
    trainer.step = notes["step"]
    return notes["history"], tensors["sheets"]


def networks(trainer: Trainer) -> dict[str, nn.Module]:
    """All that has weights, by name."""
    of_system = trainer.networks
    return {"generator": of_system.generator, "discriminator": of_system.discriminator, "ema": trainer.ema.network}
