"""The training loop: epochs of batches, with losses, progress pictures and a resumable state."""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from textbloom.core.progress import progress
from textbloom.core.tensors import sha256_of, to_uint8
from textbloom.training import health, state
from textbloom.training.data import TrainingPairs
from textbloom.training.trainer import TERMS, Trainer

SAVE_SECONDS = 45  # a kill costs at most this long; a save costs a fraction of a second
LOOK_STEPS = 20  # steps between looks at the losses: each look waits for the device
LOOK_SECONDS = 5  # or, where steps are slow, this long


@dataclass(frozen=True)
class Fixed:
    """What the progress pictures show at every age: the same noise [n, Z] and embeddings [n, D]."""

    noise: Tensor
    text: Tensor


@dataclass(frozen=True)
class Start:
    """A finished run to go on from: the file of its state, and what is recorded of it beside its generator's sha256."""

    state: Path
    facts: dict[str, Any]


@dataclass(frozen=True)
class Log:
    """What a run leaves beside its weights.

    losses: one row an epoch, the mean of each of TERMS.
    sheet_epochs, sheets: the epochs with progress pictures and those, uint8 [len(sheet_epochs), n, 3, S, S].
    parent: the finished run that this one went on from; see `Start`. None: it began from nothing.
    seconds: time spent in this process; steps_here: steps made in it (fewer than all after a resume).
    """

    losses: list[list[float]]
    sheet_epochs: list[int]
    sheets: Tensor
    parent: dict[str, Any] | None
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
    section: str = "train",
    start: Start | None = None,
    after_step: Callable[[int], None] = lambda step: None,
) -> Log:
    """Train for `epochs` in all, from the state in `folder` if there is one, else from `start`, else from nothing.

    The state is saved in `folder` as training goes on, and at its end. `section` of params.yaml is what errors name.
    `after_step` is called with the number of finished steps. Raises UserError when a loss or a weight is no longer
    finite, or memory runs out; the last finite state stays in `folder`.
    """
    per_epoch = pairs.steps_per_epoch
    if state.file(folder).exists():
        history, sheets = state.restore(state.file(folder), trainer)
    else:
        history, sheets = _begun(trainer, fixed, start, grid_every)
    trainer.ranks.agree(
        trainer.step,
        trainer.device,
        f"{folder}: the training processes find unlike states there: their machines must share the project's folder",
    )
    sums = torch.tensor(history["sums"], dtype=torch.float64, device=trainer.device)
    first_step, started = trainer.step, time.monotonic()
    saved = looked = started

    def save() -> None:
        nonlocal saved
        health.check_weights(state.networks(trainer), trainer.step, section, state.file(folder))
        state.save(state.file(folder), trainer, history | {"sums": sums.tolist()}, sheets)
        saved = time.monotonic()

    total = epochs * per_epoch * pairs.batch_size
    earlier = first_step * pairs.batch_size
    with progress(None, "train", "images", total, hidden=not trainer.ranks.first, done=earlier) as bar:
        for epoch in range(first_step // per_epoch, epochs):
            trainer.start_epoch(epoch)
            for images, text in pairs.epoch(epoch, first_step=trainer.step - epoch * per_epoch):
                sums += _advanced(trainer, images, text, section)
                done = trainer.step - epoch * per_epoch
                bar.update(pairs.batch_size)
                if done % LOOK_STEPS == 0 or done == per_epoch or time.monotonic() - looked > LOOK_SECONDS:
                    looked = time.monotonic()
                    means = dict(zip(TERMS, (sums / done).tolist(), strict=True))
                    health.check_losses(means, trainer.step, section, state.file(folder))
                    losses = f"D {means['discriminator']:.3f} G {means['generator']:.3f}"
                    bar.set_postfix_str(f"epoch {epoch + 1}/{epochs} {losses}", refresh=False)
                    if time.monotonic() - saved > SAVE_SECONDS and done != per_epoch:
                        save()
                after_step(trainer.step)
            history["losses"].append((sums / per_epoch).tolist())
            sums.zero_()
            if won_at(trainer, history["losses"]) == epoch + 1 and trainer.ranks.first:
                bar.write(_won(epoch + 1), file=sys.stderr)
            if (epoch + 1) % grid_every == 0 or epoch + 1 == epochs:
                sheets = torch.cat([sheets, _sheet(trainer, fixed)[None]])
                history["sheet_epochs"].append(epoch + 1)
            if time.monotonic() - saved > SAVE_SECONDS or epoch + 1 == epochs:
                save()
    return Log(
        losses=history["losses"],
        sheet_epochs=history["sheet_epochs"],
        sheets=sheets,
        parent=history["parent"],
        seconds=time.monotonic() - started,
        steps_here=trainer.step - first_step,
    )


def won_at(trainer: Trainer, losses: list[list[float]]) -> int | None:
    """The epoch (from 1) at which the discriminator had won, by `health.won_at`; losses: one row of TERMS an epoch."""
    of_discriminator = [row[TERMS.index("discriminator")] for row in losses]
    return health.won_at(of_discriminator, trainer.recipe.label_smoothing)


def _begun(trainer: Trainer, fixed: Fixed, start: Start | None, grid_every: int) -> tuple[dict[str, Any], Tensor]:
    """What is logged before the first step here; sets `trainer` to the state of `start`."""
    if start is None:
        sheets = torch.empty(0, *_sheet(trainer, fixed).shape, dtype=torch.uint8)
        return {"losses": [], "sums": [0.0] * len(TERMS), "sheet_epochs": [], "parent": None}, sheets
    history, sheets = state.restore(start.state, trainer)
    # A run of more epochs shows no picture of the last epoch of a shorter one, unless it was due.
    due = [epoch % grid_every == 0 for epoch in history["sheet_epochs"]]
    history["sheet_epochs"] = [epoch for epoch in history["sheet_epochs"] if epoch % grid_every == 0]
    return history | {"parent": start.facts | {"generator_sha256": sha256_of(trainer.generator.state_dict())}}, sheets[
        due
    ]


def _advanced(trainer: Trainer, images: Tensor, text: Tensor, section: str) -> Tensor:
    try:
        return trainer.advance(images, text)
    except RuntimeError as error:
        count, world = trainer.recipe.accumulate, trainer.ranks.world

        def smaller(pictures: int) -> None:
            trainer.discriminator.requires_grad_(True)  # the failed step may have ended before it did
            trainer.advance(images[: count * pictures], text[: count * pictures])

        # Several processes would have to try together, and some may have failed.
        at_once = len(images) // count
        raise health.explained(error, smaller if world == 1 else None, at_once, count * world, section) from None


def _won(epoch: int) -> str:
    return (
        f"warning: the discriminator has won by epoch {epoch}: its loss has been near zero for {health.WON_EPOCHS} "
        "epochs, and the generator learns little from it; try objective.label_smoothing 0.1, fewer model.features or "
        "a lower learning rate"
    )


@torch.no_grad()
def _sheet(trainer: Trainer, fixed: Fixed) -> Tensor:
    """The averaged generator's pictures on the fixed noise and text, uint8 [n, 3, S, S]."""
    return to_uint8(trainer.ema.network(fixed.noise.to(trainer.device), fixed.text.to(trainer.device))).cpu()
