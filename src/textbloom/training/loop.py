"""The training loop: epochs of batches, with losses, progress pictures and a resumable state."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from textbloom.errors import UserError
from textbloom.progress import progress
from textbloom.training import state
from textbloom.training.data import TrainingPairs
from textbloom.training.generator import pixels
from textbloom.training.trainer import TERMS, Trainer

SAVE_SECONDS = 45  # a kill costs at most this long; a save costs a fraction of a second
LOOK_STEPS = 20  # steps between looks at the losses: each look waits for the device


@dataclass(frozen=True)
class Fixed:
    """What the progress pictures show at every age: the same noise [n, Z] and embeddings [n, D]."""

    noise: Tensor
    text: Tensor


@dataclass(frozen=True)
class Log:
    """What a run leaves beside its weights.

    losses: one row an epoch, the mean of each of TERMS.
    sheet_epochs, sheets: the epochs with progress pictures and those, uint8 [len(sheet_epochs), n, 3, S, S].
    seconds: time spent in this process; steps_here: steps made in it (fewer than all after a resume).
    """

    losses: list[list[float]]
    sheet_epochs: list[int]
    sheets: Tensor
    seconds: float
    steps_here: int


def train(
    trainer: Trainer,
    pairs: TrainingPairs,
    fixed: Fixed,
    *,
    epochs: int,
    grid_every: int,
    folder: Path,
    after_step: Callable[[int], None] = lambda step: None,
) -> Log:
    """Train for `epochs` in all, from the state in `folder` if there is one, saving it there as it goes.

    `after_step` is called with the number of finished steps. Raises UserError when a loss is no longer finite; the last
    finite state stays in `folder`.
    """
    per_epoch = pairs.steps_per_epoch
    restored = state.restore(folder, trainer)
    trainer.ranks.agree(
        trainer.step,
        trainer.device,
        f"{folder}: the training processes find unlike states there: their machines must share the project's folder",
    )
    history, sheets = restored or (
        {"losses": [], "sums": [0.0] * len(TERMS), "sheet_epochs": []},
        torch.empty(0, *_sheet(trainer, fixed).shape, dtype=torch.uint8),
    )
    sums = torch.tensor(history["sums"], dtype=torch.float64, device=trainer.device)
    first_step, started, saved = trainer.step, time.monotonic(), time.monotonic()
    total = epochs * per_epoch * pairs.batch_size
    with progress(None, "train", "images", total, hidden=not trainer.ranks.first) as bar:
        bar.update(first_step * pairs.batch_size)
        for epoch in range(first_step // per_epoch, epochs):
            trainer.start_epoch(epoch)
            for images, text in pairs.epoch(epoch, first_step=trainer.step - epoch * per_epoch):
                sums += trainer.advance(images, text)
                done = trainer.step - epoch * per_epoch
                bar.update(pairs.batch_size)
                if done % LOOK_STEPS == 0 or done == per_epoch:
                    means = (sums / done).tolist()
                    _check_finite(means, trainer.step, folder)
                    bar.set_postfix_str(f"epoch {epoch + 1}/{epochs} D {means[0]:.3f} G {means[1]:.3f}", refresh=False)
                    if time.monotonic() - saved > SAVE_SECONDS and done != per_epoch:
                        state.save(folder, trainer, history | {"sums": sums.tolist()}, sheets)
                        saved = time.monotonic()
                after_step(trainer.step)
            history["losses"].append((sums / per_epoch).tolist())
            sums.zero_()
            if (epoch + 1) % grid_every == 0 or epoch + 1 == epochs:
                sheets = torch.cat([sheets, _sheet(trainer, fixed)[None]])
                history["sheet_epochs"].append(epoch + 1)
            if time.monotonic() - saved > SAVE_SECONDS and epoch + 1 < epochs:
                state.save(folder, trainer, history | {"sums": sums.tolist()}, sheets)
                saved = time.monotonic()
    return Log(
        losses=history["losses"],
        sheet_epochs=history["sheet_epochs"],
        sheets=sheets,
        seconds=time.monotonic() - started,
        steps_here=trainer.step - first_step,
    )


@torch.no_grad()
def _sheet(trainer: Trainer, fixed: Fixed) -> Tensor:
    """The averaged generator's pictures on the fixed noise and text, uint8 [n, 3, S, S]."""
    return pixels(trainer.ema.network(fixed.noise.to(trainer.device), fixed.text.to(trainer.device))).cpu()


def _check_finite(means: list[float], step: int, folder: Path) -> None:
    broken = [name for name, mean in zip(TERMS, means, strict=True) if not math.isfinite(mean)]
    if broken:
        raise UserError(
            f"the loss {broken[0]} is {means[TERMS.index(broken[0])]} at step {step}: lower train.lr or set "
            f"train.precision to fp32; the last good state stays in {folder}"
        )
