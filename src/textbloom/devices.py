"""What the machine at hand computes on, and in which precision."""

import torch


def device() -> torch.device:
    """The first CUDA device where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def autocast_dtype(precision: str, on: torch.device) -> torch.dtype | None:
    """The autocast type for `train.precision` (auto | fp32 | bf16); None means plain float32.

    `auto` takes bfloat16 only where the hardware computes in it: elsewhere it is emulated, and slower than float32.
    """
    if precision == "fp32":
        return None
    if precision == "bf16":
        return torch.bfloat16
    native = torch.cuda.is_bf16_supported(False) if on.type == "cuda" else _cpu_computes_bf16()
    return torch.bfloat16 if native else None


def _cpu_computes_bf16() -> bool:
    if not torch.backends.mkldnn.enabled:  # it alone has such kernels
        return False
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16") or capabilities.get("bf16"))
