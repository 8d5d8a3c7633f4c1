"""The state of an unfinished run, from which another process goes on to the same bytes: folder, lock and file."""

import hashlib
import json
import os
import shutil
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from textbloom.core import locks
from textbloom.core.files import sha256
from textbloom.core.tensors import load_metadata, load_tensors, save_tensors

STATE = "state.safetensors"  # in the run's folder
_PACKAGE = Path(__file__).parents[1]  # src/textbloom, whose folders are the rooms


def run_folder(root: Path, settings: Any, files: Sequence[Path], rooms: Sequence[str]) -> Path:
    """The folder below `root` of the run that these arguments decide: equal ones give the same folder.

    Args:
        root: where unfinished runs lie.
        settings: all that decides the result beside files and code; anything that JSON can hold.
        files: the data that the run reads; their bytes count, not their names.
        rooms: the folders of src/textbloom whose source decides the result, such as "training" or "models"; an edit
            elsewhere, of a plot for example, does not lose the run.
    """
    name = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for path in files:
        name.update(sha256(path).encode())
    for source in sorted(source for room in rooms for source in (_PACKAGE / room).rglob("*.py")):
        name.update(f"{source.relative_to(_PACKAGE)} {sha256(source)}".encode())
    return root / name.hexdigest()[:16]


@contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Reserve a run's folder for this process; a second process says on stderr which is the first, and waits for it.

    So two experiments may have one stage in common. The kernel keeps the lock, so it ends with the process, however
    that ends. `remove` the folder only under it.
    """
    with locks.exclusive(folder / "lock", "already trains this very run", wait=True):
        yield


def holder(folder: Path) -> tuple[str, bool]:
    """Which process on which machine locked a run's folder last, since when, and whether it is still there.

    The folder is not locked to find out, since a run that starts at that moment would be refused. The process is looked
    for by its id instead; on another machine, where it cannot be seen, it counts as there. A missing folder is a
    FileNotFoundError.
    """
    text = (folder / "lock").read_text(encoding="utf-8")
    process, _, rest = text.partition(" on ")
    if rest.partition(" since ")[0] != socket.gethostname():  # or between the file's opening and its writing
        return text, True
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return text, False
    except PermissionError:  # another person's
        pass
    return text, True


def remove(folder: Path) -> None:
    """Remove the folder of a finished run, which the caller has locked."""
    shutil.rmtree(folder, ignore_errors=True)


def save(
    path: Path,
    networks: Mapping[str, nn.Module],
    optimizers: Mapping[str, Optimizer],
    notes: Mapping[str, Any],
    others: Mapping[str, Tensor] | None = None,
) -> None:
    """Write networks and optimizers by their names, beside `notes` (JSON-like) and `others`."""
    tensors = dict(others or {})
    for name, network in networks.items():
        tensors |= {f"{name}/{key}": value for key, value in network.state_dict().items()}
    for name, optimizer in optimizers.items():
        for index, slots in optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer/{name}/{index}/{slot}": value for slot, value in slots.items()}
    save_tensors(path, tensors, notes)


def restore(
    path: Path, networks: Mapping[str, nn.Module], optimizers: Mapping[str, Optimizer]
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Set networks and optimizers to what `save` wrote; returns the notes and all tensors of the file."""
    tensors = load_tensors(path)
    for name, network in networks.items():
        network.load_state_dict(_under(tensors, f"{name}/"))
    for name, optimizer in optimizers.items():
        weights = [weight for group in optimizer.param_groups for weight in group["params"]]
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in _under(tensors, f"optimizer/{name}/").items():
            index, slot = key.split("/")
            # A file has no memory layout, and a fused optimizer takes its moments to lie as the weights do.
            like = weights[int(index)] if value.ndim else value
            state.setdefault(int(index), {})[slot] = torch.empty_like(like, requires_grad=False).copy_(value)
        optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    return load_metadata(path), tensors


def _under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
