"""Signs that a run goes wrong: values that are not finite, a discriminator that has won, memory that runs out."""

import math
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import torch
from torch import nn

from textbloom.core.errors import UserError

# A discriminator whose cross-entropy is near zero teaches the generator nothing: "D loss goes to 0: failure mode"
# (Chintala et al. 2016, How to Train a GAN, 10), and with the saturating loss the gradient vanishes (Arjovsky and
# Bottou 2017, arXiv 1701.04862, theorem 2.4). At 0.05 nats it gives the right answers 95% on (geometric) average.
# Where neither source gives a number, 0.05 and the five epochs, which a lucky one cannot fill, are our choice.
WON_LOSS = 0.05
WON_EPOCHS = 5


def won_at(losses: Sequence[float], label_smoothing: float) -> int | None:
    """The epoch (from 1) at which the discriminator had won: its loss near the least possible for WON_EPOCHS in a row.

    losses: the discriminator's mean loss of each epoch. With smoothed labels the least is not zero, but the entropy of
    the target, in nats.
    """
    shares = [share for share in (label_smoothing, 1.0 - label_smoothing) if share > 0]
    least = -sum(share * math.log(share) for share in shares)
    in_a_row = 0
    for epoch, loss in enumerate(losses, start=1):
        in_a_row = in_a_row + 1 if loss - least < WON_LOSS else 0
        if in_a_row == WON_EPOCHS:
            return epoch
    return None


def check_losses(means: Mapping[str, float], step: int, section: str, kept: Path) -> None:
    """Raise UserError where the mean of a loss is not finite.

    section: that of params.yaml with the learning rate. kept: the file of the last saved state, if there is one yet.
    """
    for name, mean in means.items():
        if not math.isfinite(mean):
            raise _diverged(f"the loss {name} is {mean}", step, section, kept)


def check_weights(networks: Mapping[str, nn.Module], step: int, section: str, kept: Path) -> None:
    """Raise UserError where a weight or batch statistic is not finite: a step may spoil what its loss did not show."""
    for name, network in networks.items():
        if not all(bool(torch.isfinite(tensor).all()) for tensor in network.state_dict().values()):
            raise _diverged(f"a weight of the {name} is not finite", step, section, kept)


def _diverged(what: str, step: int, section: str, kept: Path) -> UserError:
    stays = f"; the last good state stays in {kept}" if kept.exists() else ""
    return UserError(f"{what} by step {step}: lower {section}.lr or set train.precision to fp32{stays}")


def explained(
    error: RuntimeError,
    smaller: Callable[[int], object] | None,
    at_once: int,
    shares: int,
    section: str,
) -> RuntimeError | UserError:
    """The error of a step; where memory ran out, a UserError that names a batch size which fits.

    smaller: does a step of so many pictures at once; it is tried with ever half of `at_once`, and may leave its
        networks in any state. None where trying is not possible: then the half is named as a guess.
    shares: the batch is so many times the pictures at once, in micro-batches and on several devices.
    """
    if not is_out_of_memory(error):
        return error
    # The failed step's frames hold its activations.
    traceback.clear_frames(error.__traceback__)
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    what = f"{section}.batch_size: a step of {at_once * shares} pictures does not fit in memory"
    halves = list(_halves(at_once))
    if smaller is None and halves:
        return UserError(f"{what}; try {halves[0] * shares}, or a larger {section}.accumulate")
    fits = _first_that_fits(smaller, halves) if smaller else None
    if fits is None:
        least = f", nor does one of {halves[-1] * shares}" if halves else ""
        return UserError(f"{what}{least}: lower model.features or the pictures' size")
    mend = f"set {section}.batch_size to {fits * shares}, or {section}.accumulate higher"
    return UserError(f"{what}, one of {fits * shares} does: {mend}")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an allocator refused memory: that of a device, its libraries' own, or the CPU's, told by their words."""
    said = str(error)
    return (
        isinstance(error, torch.OutOfMemoryError)
        or any(words in said for words in ("ALLOC_FAILED", "CUDA error: out of memory"))
        or ("DefaultCPUAllocator" in said and ("allocate" in said or "not enough memory" in said))
    )


def _halves(size: int) -> Iterable[int]:
    """Ever half of `size`, while at least the two that batch statistics need."""
    while size >= 4:
        size //= 2
        yield size


def _first_that_fits(step: Callable[[int], object], sizes: Iterable[int]) -> int | None:
    for size in sizes:
        try:
            step(size)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            traceback.clear_frames(error.__traceback__)
        else:
            return size
    return None
