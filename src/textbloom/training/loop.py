"""The training loop: epochs of batches, with their mean losses, progress pictures and a resumable state."""

import math
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from textbloom.core import checkpoint
from textbloom.core.errors import UserError
from textbloom.core.progress import progress
from textbloom.core.tensors import to_uint8
from textbloom.training import validation
from textbloom.training.batches import Batches
from textbloom.training.trainer import Trainer

SAVE_SECONDS = 45.0  # a kill costs at most this long; a save costs a fraction of a second
LOG_STEPS = 20  # steps between looks at the losses: each look waits for the device
LOOK_SECONDS = 5.0  # or, where steps are slow, this long

# The averaged generator's values now, by name, and its weights.
Validate = Callable[[], tuple[dict[str, float], dict[str, Tensor]]]


@dataclass(frozen=True)
class ProgressInputs:
    """What the progress pictures show at every age: the same fixed noise [n, Z], embeddings [n, D] and n captions."""

    noise: Tensor
    text: Tensor
    captions: list[str]


@dataclass(frozen=True)
class Log:
    """What a run leaves beside its weights.

    losses: one row an epoch, the mean of each loss and term by its name.
    sheet_epochs, sheets: the epochs with progress pictures and those, uint8 [len(sheet_epochs), n, 3, S, S].
    validation, best: one row a measurement with its `epoch`, and the weights of the best; empty without any.
    seconds: time spent in this process; steps_here: steps made in it (fewer than all after a resume).
    """

    losses: list[dict[str, float]]
    sheet_epochs: list[int]
    sheets: Tensor
    validation: list[dict[str, float]]
    best: dict[str, Tensor]
    seconds: float
    steps_here: int


def train(
    trainer: Trainer,
    batches: Batches,
    inputs: ProgressInputs,
    *,
    epochs: int,
    grid_every: int,
    folder: Path,
    section: str = "train",
    validate: Validate | None = None,
    evaluate_every: int | None = None,
) -> Log:
    """Train for `epochs` in all, from the state in `folder` if there is one, else from nothing.

    The state is saved in `folder` as training goes on, and at its end. `section` of params.yaml is what errors name.
    The averaged generator is measured by `validate` every `evaluate_every` epochs and after the last; the best one's
    weights are kept. Raises UserError when a loss or a weight is no longer finite, or memory runs out; the last finite
    state stays in `folder`.
    """
    state = folder / checkpoint.STATE
    history: dict[str, Any] = {"losses": [], "sums": {}, "sheet_epochs": [], "validation": []}
    best: dict[str, Tensor] = {}
    sheets = torch.empty(0, *_sheet(trainer, inputs).shape, dtype=torch.uint8)
    if state.exists():
        history, sheets, best = trainer.restore(state)
    trainer.ranks.agree(
        trainer.step,
        trainer.device,
        f"{folder}: the training processes find unlike states there: their machines must share the project's folder",
    )
    rows: list[dict[str, float]] = history["losses"]
    sums: dict[str, Any] = history["sums"]  # of this epoch's losses, on the device: reading them waits for it
    per_epoch = batches.steps_per_epoch
    first_step, started = trainer.step, time.monotonic()
    saved = looked = started

    def save() -> None:
        nonlocal saved
        _check_weights(trainer, section, state)
        logged = {name: float(total) for name, total in sums.items()}
        seen_here = (trainer.step - first_step) * batches.batch_size
        watched = {  # for people who look at the state meanwhile
            "section": section,
            "epochs": epochs,
            "steps_per_epoch": per_epoch,
            "captions": inputs.captions,
            "images_left": total - trainer.step * batches.batch_size,
            "images_per_second": seen_here / (time.monotonic() - started),
        }
        trainer.save(state, history | {"sums": logged, "watched": watched}, sheets, best)
        saved = time.monotonic()

    total, earlier = epochs * per_epoch * batches.batch_size, first_step * batches.batch_size
    with progress(None, "train", "images", total, hidden=not trainer.ranks.first, done=earlier) as bar:
        for epoch in range(first_step // per_epoch, epochs):
            for batch in batches.epoch(epoch, first_step=trainer.step - epoch * per_epoch):
                for name, loss in _advanced(trainer, batch, section).items():
                    sums[name] = sums.get(name, 0.0) + loss.double()
                done = trainer.step - epoch * per_epoch
                bar.update(batches.batch_size)
                if done % LOG_STEPS == 0 or done == per_epoch or time.monotonic() - looked > LOOK_SECONDS:
                    looked = time.monotonic()
                    means = {name: float(total) / done for name, total in sums.items()}
                    _check_losses(means, trainer.step, section, state)
                    losses = f"D {means['discriminator']:.3f} G {means['generator']:.3f}"
                    bar.set_postfix_str(f"epoch {epoch + 1}/{epochs} {losses}", refresh=False)
                    if time.monotonic() - saved > SAVE_SECONDS and done != per_epoch:
                        save()
            rows.append(means)
            sums.clear()
            if first_warning(trainer, rows) == epoch + 1 and trainer.ranks.first:
                bar.write(f"warning: {trainer.objective.warning(rows)}", file=sys.stderr)
            if (epoch + 1) % grid_every == 0 or epoch + 1 == epochs:
                sheets = torch.cat([sheets, _sheet(trainer, inputs)[None]])
                history["sheet_epochs"].append(epoch + 1)
            if validate is not None and evaluate_every and ((epoch + 1) % evaluate_every == 0 or epoch + 1 == epochs):
                values, weights = validate()
                history["validation"].append({"epoch": epoch + 1, **values})
                if validation.best(history["validation"])["epoch"] == epoch + 1:
                    best = weights
                if trainer.ranks.first:
                    told = " ".join(f"{name} {value:.4g}" for name, value in values.items())
                    bar.write(f"epoch {epoch + 1}: {told}", file=sys.stderr)
            if time.monotonic() - saved > SAVE_SECONDS or epoch + 1 == epochs:
                save()
    return Log(
        losses=rows,
        sheet_epochs=history["sheet_epochs"],
        sheets=sheets,
        validation=history["validation"],
        best=best,
        seconds=time.monotonic() - started,
        steps_here=trainer.step - first_step,
    )


def first_warning(trainer: Trainer, losses: list[dict[str, float]]) -> int | None:
    """The epoch (from 1) at whose end the objective first had a warning; `losses`: one row an epoch."""
    if trainer.objective.warning(losses) is None:
        return None
    return next(count for count in range(1, len(losses) + 1) if trainer.objective.warning(losses[:count]))


def _advanced(trainer: Trainer, batch: tuple[Tensor, Tensor, Tensor], section: str) -> dict[str, Tensor]:
    try:
        return trainer.advance(*batch)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        size, shares = len(batch[0]) * trainer.ranks.world, trainer.accumulate * trainer.ranks.world
        half = size // shares // 2 * shares
        fits = half >= 2 * shares  # batch statistics need two pictures at least
        mend = f"try {half}, or a larger {section}.accumulate" if fits else "lower model.features or the pictures' size"
        raise UserError(f"{section}.batch_size: a step of {size} pictures does not fit in memory; {mend}") from None


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an allocator refused memory: a device's, one of its libraries', or the CPU's, known by their words."""
    message = str(error)
    return (
        isinstance(error, torch.OutOfMemoryError)
        or any(words in message for words in ("ALLOC_FAILED", "CUDA error: out of memory"))
        or ("DefaultCPUAllocator" in message and ("allocate" in message or "not enough memory" in message))
    )


def _check_losses(means: Mapping[str, float], step: int, section: str, state: Path) -> None:
    for name, mean in means.items():
        if not math.isfinite(mean):
            raise _diverged(f"the loss {name} is {mean}", step, section, state)


def _check_weights(trainer: Trainer, section: str, state: Path) -> None:
    """A step may spoil weights that its own loss does not show."""
    for name, network in trainer.modules().items():
        if not all(bool(torch.isfinite(tensor).all()) for tensor in network.state_dict().values()):
            raise _diverged(f"a weight of the {name} is not finite", trainer.step, section, state)


def _diverged(what: str, step: int, section: str, state: Path) -> UserError:
    stays = f"; the last good state stays in {state}" if state.exists() else ""
    return UserError(f"{what} by step {step}: lower {section}.lr or set train.precision to fp32{stays}")


@torch.no_grad()
def _sheet(trainer: Trainer, inputs: ProgressInputs) -> Tensor:
    """The averaged generator's pictures of the progress inputs, uint8 [n, 3, S, S]."""
    return to_uint8(trainer.ema.network(inputs.noise.to(trainer.device), inputs.text.to(trainer.device))).cpu()
