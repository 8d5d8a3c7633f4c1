"""The machine that a stage runs on: device, precision, agreement to the bit with other machines, and provenance."""

import ctypes
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from textbloom.core.errors import UserError
from textbloom.core.files import write_json
from textbloom.core.processors import cores

# Settings of the portable mode. The numerical libraries read them when they are loaded, so the process has to start
# again with them.
_PORTABLE = {
    "ATEN_CPU_CAPABILITY": "avx2",  # torch's own kernels: the width of vectors decides how sums are split
    "MKL_CBWR": "COMPATIBLE",  # matrix products: one code path on all processors, without fused multiply-add
    "OPENBLAS_CORETYPE": "Haswell",  # the matrix products of numpy and scipy
    "OMP_NUM_THREADS": "2",  # the number of threads decides how sums are split, too
    "MKL_NUM_THREADS": "2",
    "OPENBLAS_NUM_THREADS": "2",
    "MKL_DYNAMIC": "FALSE",  # without this a machine with fewer cores would use fewer threads
    "OMP_DYNAMIC": "FALSE",
    "CUDA_VISIBLE_DEVICES": "",
}

# Libraries whose version can change a result; provenance records them.
_PACKAGES = ("torchvision", "torch-fidelity", "sentence-transformers", "timm", "numpy", "scipy", "pillow", "dvc")

# Torch takes a thread for each core that it sees; more than a container may use at a time would wait for each other.
if "OMP_NUM_THREADS" not in os.environ:
    torch.set_num_threads(min(cores(), torch.get_num_threads()))
# A feature map that is freed goes back to the system, which then takes a while to give an empty one: an eighth of the
# time of a training step. With these settings of the C library (mallopt(3)) the process keeps what it has had.
if platform.libc_ver()[0] == "glibc":
    _MMAP_MAX, _TRIM_THRESHOLD = -4, -1
    ctypes.CDLL(None).mallopt(_MMAP_MAX, 0)
    ctypes.CDLL(None).mallopt(_TRIM_THRESHOLD, -1)  # never


def device() -> torch.device:
    """The first CUDA device where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def autocast_dtype(precision: str, on: torch.device) -> torch.dtype | None:
    """The type that autocast computes in for a `precision` of auto, fp32 or bf16; None means float32, no autocast.

    `auto` takes bfloat16 only where the hardware computes in it. Elsewhere it is emulated, and slower than float32.
    """
    if precision == "fp32":
        return None
    if precision == "bf16":
        return torch.bfloat16
    native = torch.cuda.is_bf16_supported(False) if on.type == "cuda" else _cpu_computes_bf16()
    return torch.bfloat16 if native else None


def _cpu_computes_bf16() -> bool:
    if not torch.backends.mkldnn.enabled:  # only oneDNN has such kernels
        return False
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16") or capabilities.get("bf16"))


def arithmetic(on: torch.device) -> list[Any]:
    """What decides how numbers are computed but stands in no parameter of a stage, for naming a run (JSON-like).

    The kind of processor or GPU and the number of threads are left out, although they change last bits: a run that
    continues on another machine is worth more than one that starts again.
    """
    return [str(on), torch.__version__, torch.backends.mkldnn.enabled, torch.are_deterministic_algorithms_enabled()]


def portable(wanted: bool) -> None:
    """Make this process compute what it would on any x86-64 processor with AVX2 and FMA; `wanted`: params' `portable`.

    The first call does not return: the libraries choose their instructions when they are loaded, so the process
    replaces itself by a new one that runs the same program. In that one, convolutions are computed as matrix products
    instead of by oneDNN, which generates code for the processor at hand. Raises UserError on a processor that cannot.
    """
    if not wanted:
        return
    able = torch.cpu.get_capabilities()
    if platform.machine() not in ("x86_64", "AMD64") or not (able.get("avx2") and able.get("fma3", True)):
        raise UserError("portable: needs an x86-64 processor with AVX2; set it to false")
    if any(os.environ.get(name) != value for name, value in _PORTABLE.items()):
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, **_PORTABLE})
    torch.backends.mkldnn.set_flags(False)
    torch.backends.nnpack.set_flags(False)


def deterministic(wanted: bool) -> None:
    """Let torch use only algorithms that repeat to the bit on one GPU; `wanted`: params' `train.deterministic`.

    Without it a GPU adds numbers up in whatever order its threads finish. A CPU repeats to the bit in any case.
    """
    if not wanted:
        return
    os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"  # cuBLAS needs it for this, and reads it at its first use
    torch.use_deterministic_algorithms(True)


def record_provenance(path: Path, **facts: Any) -> None:
    """Write to `path` what differs between machines and runs: versions, device, Git revision, time, and `facts`.

    These facts stay out of the metrics, so that `dvc metrics diff` compares results alone.
    """
    on = device()
    write_json(
        path,
        {
            "versions": {
                "python": platform.python_version(),
                "torch": torch.__version__,  # with the build, such as +cpu, which the package's version leaves out
                **{name: version(name) for name in _PACKAGES},
            },
            "device": torch.cuda.get_device_name(on) if on.type == "cuda" else platform.machine(),
            "torch_threads": torch.get_num_threads(),
            "git_revision": git_revision(),
            "utc": datetime.now(UTC).isoformat(timespec="seconds"),
            **facts,
        },
    )


def git_revision() -> str | None:
    """The commit of the working folder, with `-dirty` where tracked files differ from it; None outside a repository."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
