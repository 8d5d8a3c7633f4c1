"""How far the bytes of a stage agree: from run to run on one GPU, and from one x86-64 processor to another."""

import os
import platform
import sys

import torch

from textbloom.core.errors import UserError

# Read by the libraries when they are loaded, hence a fresh process.
_ENVIRONMENT = {
    "ATEN_CPU_CAPABILITY": "avx2",  # torch's own kernels; sums split by vector width
    "MKL_CBWR": "COMPATIBLE",  # matrix products: one code path, no FMA
    "OPENBLAS_CORETYPE": "Haswell",  # those of numpy and scipy
    "OMP_NUM_THREADS": "2",  # sums split by thread too
    "MKL_NUM_THREADS": "2",
    "OPENBLAS_NUM_THREADS": "2",
    "MKL_DYNAMIC": "FALSE",  # else fewer on a machine with fewer cores
    "OMP_DYNAMIC": "FALSE",
    "CUDA_VISIBLE_DEVICES": "",
}


def portable(wanted: bool) -> None:
    """Make this process compute what it would on any x86-64 processor with AVX2 and FMA; `wanted`: params' `portable`.

    Does not return the first time: the process starts its own program anew, with the same number, because the
    libraries choose their instructions when they are loaded. Then convolutions leave oneDNN, which generates code for
    the processor at hand, for matrix products. Raises UserError on a processor that cannot.
    """
    if not wanted:
        return
    able = torch.cpu.get_capabilities()
    if platform.machine() not in ("x86_64", "AMD64") or not (able.get("avx2") and able.get("fma3", True)):
        raise UserError("portable: needs an x86-64 processor with AVX2; set it to false")
    if any(os.environ.get(name) != value for name, value in _ENVIRONMENT.items()):
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, **_ENVIRONMENT})
    torch.backends.mkldnn.set_flags(False)
    torch.backends.nnpack.set_flags(False)


def deterministic(wanted: bool) -> None:
    """Let torch choose only algorithms that repeat to the bit on one GPU; `wanted`: params' `train.deterministic`.

    Without it a GPU adds up in whatever order its threads arrive. CPUs repeat to the bit anyway.
    """
    if not wanted:
        return
    os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"  # what cuBLAS needs for it, read at its first use
    torch.use_deterministic_algorithms(True)
