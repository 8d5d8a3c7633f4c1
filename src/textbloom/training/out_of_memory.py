"""What a person is told when a training step does not fit in memory: a batch size that was tried and does."""

import traceback
from collections.abc import Callable, Iterator

import torch

from textbloom.core.errors import UserError


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an allocator refused memory: a device's, one of its libraries', or the CPU's, known by their words."""
    message = str(error)
    return (
        isinstance(error, torch.OutOfMemoryError)
        or any(words in message for words in ("ALLOC_FAILED", "CUDA error: out of memory"))
        or ("DefaultCPUAllocator" in message and ("allocate" in message or "not enough memory" in message))
    )


def advice(
    error: RuntimeError, smaller_step: Callable[[int], object] | None, at_once: int, shares: int, section: str
) -> UserError:
    """The UserError for a step that ran out of memory.

    Args:
        smaller_step: does a step of so many pictures at once, and may leave its networks in any state. Halves of
            `at_once` are tried until one fits. None where trying is not possible: the first half is then a guess.
        shares: the batch is so many times the pictures at once, in micro-batches and on several devices.
        section: that of params.yaml to name.
    """
    _release_memory(error)
    what = f"{section}.batch_size: a step of {at_once * shares} pictures does not fit in memory"
    halves = list(_halves(at_once))
    if smaller_step is None and halves:
        return UserError(f"{what}; try {halves[0] * shares}, or a larger {section}.accumulate")
    fits = next((half for half in halves if smaller_step and _fits(smaller_step, half)), None)
    if fits is None:
        least = f", nor does one of {halves[-1] * shares}" if halves else ""
        return UserError(f"{what}{least}: lower model.features or the pictures' size")
    mend = f"set {section}.batch_size to {fits * shares}, or {section}.accumulate higher"
    return UserError(f"{what}, one of {fits * shares} does: {mend}")


def _halves(size: int) -> Iterator[int]:
    """`size` halved again and again, while there are the two pictures that batch statistics need."""
    while size >= 4:
        size //= 2
        yield size


def _fits(step: Callable[[int], object], size: int) -> bool:
    try:
        step(size)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        _release_memory(error)
        return False
    return True


def _release_memory(error: RuntimeError) -> None:
    traceback.clear_frames(error.__traceback__)  # the failed step's frames hold its activations
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
