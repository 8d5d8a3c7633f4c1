"""What training leaves for people: the loss curves and a summary."""

from pathlib import Path
from typing import Any

import pandas as pd

from textbloom.core.files import write_text
from textbloom.training.data import TrainingPairs
from textbloom.training.loop import Log, won_at
from textbloom.training.trainer import TERMS, Trainer


def write_losses(path: Path, losses: list[list[float]]) -> None:
    """One row an epoch (from 1): the epoch's mean of each loss in TERMS, six significant digits."""
    table = pd.DataFrame(losses, columns=list(TERMS))
    table.insert(0, "epoch", range(1, len(losses) + 1))
    write_text(path, table.to_csv(index=False, float_format="%.6g", lineterminator="\n"))


def summary(trainer: Trainer, pairs: TrainingPairs, log: Log) -> dict[str, Any]:
    """The run's size and its last epoch's losses (six significant digits): the same bytes for the same run.

    `discriminator_won_at_epoch` is there only where it has.
    """
    last = {f"loss_{name}": float(f"{value:.6g}") for name, value in zip(TERMS, log.losses[-1], strict=True)}
    won = won_at(trainer, log.losses)
    return {
        **last,
        **({"discriminator_won_at_epoch": won} if won else {}),
        "epochs": len(log.losses),
        "steps": trainer.step,
        "images_seen": trainer.step * pairs.batch_size,
        "training_images": len(pairs),
        "generator_parameters": sum(weights.numel() for weights in trainer.generator.parameters()),
        "discriminator_parameters": sum(weights.numel() for weights in trainer.discriminator.parameters()),
    }
