"""The state of an unfinished training run: networks, average, optimizers, step, and what was logged so far."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from textbloom.core import saved_state
from textbloom.training.trainer import Trainer

_BEST = "best/"


def save(path: Path, trainer: Trainer, history: Mapping[str, Any], sheets: Tensor, best: Mapping[str, Tensor]) -> None:
    """Write all that decides the rest of the run, and what it has given so far.

    That is the JSON-like `history`, the progress pictures (uint8) and the weights of the best epoch, if there is one.

    Of several ranks, whose states are the same, the first alone writes.
    """
    if trainer.ranks.first:
        notes = {"step": trainer.step, "history": history}
        others = {"sheets": sheets} | {f"{_BEST}{name}": weights for name, weights in best.items()}
        saved_state.save(path, networks(trainer), trainer.optimizers, notes, others)


def restore(path: Path, trainer: Trainer) -> tuple[dict[str, Any], Tensor, dict[str, Tensor]]:
    """Set `trainer` to the state saved in `path`; returns (history, sheets, best). A missing file is a UserError."""
    notes, tensors = saved_state.restore(path, networks(trainer), trainer.optimizers)
    trainer.step = notes["step"]
    best = {name.removeprefix(_BEST): weights for name, weights in tensors.items() if name.startswith(_BEST)}
    return notes["history"], tensors["sheets"], best


def networks(trainer: Trainer) -> dict[str, nn.Module]:
    """All that has weights, by name."""
    of_system = trainer.networks
    return {"generator": of_system.generator, "discriminator": of_system.discriminator, "ema": trainer.ema.network}
