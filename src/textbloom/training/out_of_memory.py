"""What a person is told when a training step does not fit in memory: a batch size that was tried and does."""

import traceback
from collections.abc import Callable

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
    what = f"{section}.batch_size: a step of {at_once * shares} pictures does not fit in memory"
    if smaller_step is None:
        return UserError(f"{what}; try {at_once // 2 * shares}, or a larger {section}.accumulate")
    size = at_once
    while size >= 4:  # batch statistics need two pictures at least
        size //= 2
        traceback.clear_frames(error.__traceback__)  # the failed step's frames hold its activations
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        try:
            smaller_step(size)
        except RuntimeError as again:
            if not is_out_of_memory(again):
                raise
            error = again
        else:
            mend = f"set {section}.batch_size to {size * shares}, or {section}.accumulate higher"
            return UserError(f"{what}, one of {size * shares} does: {mend}")
    least = f", nor does one of {size * shares}" if size < at_once else ""
    return UserError(f"{what}{least}: lower model.features or the pictures' size")
