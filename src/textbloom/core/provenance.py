"""Where and with what a stage ran: facts that differ between machines and runs, kept apart from the metrics."""

import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from textbloom.core import devices
from textbloom.core.files import write_json

PACKAGES = (
    "torchvision",
    "torch-fidelity",
    "sentence-transformers",
    "timm",
    "numpy",
    "scipy",
    "pillow",
    "dvc",
)


def record(path: Path, **facts: Any) -> None:
    """Write library versions, device, threads, git revision and the time (UTC) to `path`, with `facts` added."""
    device = devices.device()
    write_json(
        path,
        {
            "versions": {
                "python": platform.python_version(),
                "torch": torch.__version__,  # with the build, such as +cpu, which the package's version leaves out
                **{name: version(name) for name in PACKAGES},
            },
            "device": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine(),
            "torch_threads": torch.get_num_threads(),
            "git_revision": git_revision(),
            "utc": datetime.now(UTC).isoformat(timespec="seconds"),
            **facts,
        },
    )


def git_revision() -> str | None:
    """The commit of the working folder, with `-dirty` where tracked files differ from it; None outside a repository."""
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return described.stdout.strip()
