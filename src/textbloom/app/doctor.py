"""`textbloom doctor`: what is installed, on what it would run, what is in place, and the mend for what is missing."""

import platform
import re
import shutil
from collections import defaultdict
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import torch

from textbloom import config
from textbloom.app import models
from textbloom.core import runtime
from textbloom.core.errors import UserError
from textbloom.text import open_encoder

LOCK = Path("requirements.lock")
ROOM = 2.0  # GB that a run of the default needs, with DVC's cache


def report() -> bool:
    """Print a line for each thing; False where one of them would keep `make repro` from running."""
    sound = True
    for check in (_machine, _packages, _disk, _settings, _encoder, _data, _models):
        try:
            for line in check():
                print(f"✓ {line}")
        except UserError as error:
            sound = False
            print(f"✗ {error}")
    return sound


def _machine() -> Iterator[str]:
    device = runtime.device()
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"threads: {torch.get_num_threads()}"
    numbers = "bfloat16" if runtime.autocast_dtype("auto", device) else "float32"
    yield f"Python {platform.python_version()}, torch {torch.__version__}, on {platform.system()} {platform.machine()}"
    yield f"training would run on {device.type} ({name}) in {numbers}"


def _packages() -> Iterator[str]:
    if not LOCK.is_file():
        raise UserError(f"{LOCK} is missing: run this in the project's folder")
    locked: dict[str, set[str]] = defaultdict(set)  # of some packages a version for each Python
    for name, version in re.findall(r"^([a-z0-9._-]+)==([^ ;\\]+)", LOCK.read_text(encoding="utf-8"), re.MULTILINE):
        locked[name].add(version)
    installed = {one.metadata["Name"].lower().replace("_", "-"): one.version for one in metadata.distributions()}
    # Of packages for other systems the lock has lines too, so a missing one says nothing; a wrong version does.
    wrong = sorted(name for name in locked.keys() & installed.keys() if installed[name] not in locked[name])
    if wrong:
        raise UserError(f"{', '.join(wrong)}: not the versions of {LOCK}: run `make setup`")
    yield f"packages as in {LOCK}"


def _disk() -> Iterator[str]:
    free = shutil.disk_usage(".").free / 1e9
    if free < ROOM:
        raise UserError(f"{free:.1f} GB are free on this disk, of {ROOM:.0f} that a run needs: free some space")
    yield f"{free:.0f} GB free on this disk"


def _settings() -> Iterator[str]:
    p = config.load()
    yield f"{config.PARAMS}: {p.data.dataset} at {p.images.size} pixels, system {p.model.name}, seed {p.seed}"


def _encoder() -> Iterator[str]:
    e = config.load().encoder
    encoder = open_encoder(**e.opened_by)
    yield f"text encoder {e.name}, sha256 {encoder.metadata['sha256'][:12]}…"


def _data() -> Iterator[str]:
    for path, what in ((config.CAPTIONS, "captions"), (config.IMAGES, "pictures"), (config.EMBEDDINGS, "embeddings")):
        yield f"{what}: {path}" if path.is_file() else f"{what}: not yet there; `make repro` prepares them"


def _models() -> Iterator[str]:
    yield f"models that draw: {', '.join(models.names())}"
