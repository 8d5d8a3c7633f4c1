"""What the machine at hand computes on, and in which precision."""

from typing import Any

import torch


def device() -> torch.device:
    """The first CUDA device where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def autocast_dtype(precision: str, on: torch.device) -> torch.dtype | None:
    """The autocast type for `train.precision` (auto | fp32 | bf16); None means float32, as far as the device keeps it.

    `auto` takes bfloat16 only where the hardware computes in it: elsewhere it is emulated, and slower than float32.
    """
    if precision == "fp32":
        return None
    if precision == "bf16":
        return torch.bfloat16
    native = torch.cuda.is_bf16_supported(False) if on.type == "cuda" else _cpu_computes_bf16()
    return torch.bfloat16 if native else None


def arithmetic(on: torch.device) -> list[Any]:
    """What decides how numbers are computed and a stage's parameters do not say: JSON-like, for names of results.

    Not the processor's or the GPU's kind, nor the number of threads, though they sway last bits: a run that goes on
    elsewhere is worth more than one that starts again. `machine` has them.
    """
    return [str(on), torch.__version__, torch.backends.mkldnn.enabled, torch.are_deterministic_algorithms_enabled()]


def machine(on: torch.device) -> list[Any]:
    """`arithmetic`, and the machine's share in the last bits: JSON-like."""
    if on.type == "cuda":
        return [*arithmetic(on), torch.cuda.get_device_name(on)]
    return [*arithmetic(on), torch.backends.cpu.get_cpu_capability(), torch.get_num_threads()]


def _cpu_computes_bf16() -> bool:
    if not torch.backends.mkldnn.enabled:  # it alone has such kernels
        return False
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16") or capabilities.get("bf16"))
