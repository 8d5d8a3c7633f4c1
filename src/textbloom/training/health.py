"""Signs that a run goes wrong: values that are not finite, a discriminator that has won, memory that runs out."""

import math
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import torch
from torch import nn

from textbloom.errors import UserError

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


def check_losses(means: Mapping[str, float], step: int, section: str, folder: Path) -> None:
    """Raise UserError where the mean of a loss is not finite; `section` of params.yaml holds the learning rate."""
    for name, mean in means.items():
        if not math.isfinite(mean):
            raise _diverged(f"the loss {name} is {mean}", step, section, folder)


def check_weights(networks: Mapping[str, nn.Module], step: int, section: str, folder: Path) -> None:
    """Raise UserError where a weight or batch statistic is not finite: a step may spoil what its loss did not show."""
    for name, network in networks.items():
        if not all(bool(torch.isfinite(tensor).all()) for tensor in network.state_dict().values()):
            raise _diverged(f"a weight of the {name} is not finite", step, section, folder)


def _diverged(what: str, step: int, section: str, folder: Path) -> UserError:
    return UserError(
        f"{what} at step {step}: lower {section}.lr or set train.precision to fp32; the last good state stays in "
        f"{folder}"
    )


def explained(
    error: RuntimeError,
    smaller: Callable[[int], object] | None,
    batch_size: int,
    section: str,
) -> RuntimeError | UserError:
    """The error of a step; where memory ran out, a UserError that names a batch size which fits.

    smaller: does a step of so many pictures; it is tried with ever half of `batch_size`, and may leave its networks in
        any state. None where trying is not possible: then the half is named as a guess.
    """
    if not is_out_of_memory(error):
        return error
    # The failed step's frames hold its activations.
    traceback.clear_frames(error.__traceback__)
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    what = f"{section}.batch_size: a step of {batch_size} pictures does not fit in memory"
    if smaller is None:
        return UserError(f"{what}; try {batch_size // 2}")
    fits = _first_that_fits(smaller, _halves(batch_size))
    if fits is None:
        return UserError(f"{what}, nor does one of 2: lower model.features or {section}.size")
    return UserError(f"{what}, one of {fits} does: set {section}.batch_size to {fits}")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a device's or the CPU's allocator refused memory; the CPU's has no error class of its own."""
    return isinstance(error, torch.OutOfMemoryError) or (
        "DefaultCPUAllocator" in str(error) and ("allocate" in str(error) or "not enough memory" in str(error))
    )


def _halves(size: int) -> Iterable[int]:
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
