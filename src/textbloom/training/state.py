"""The state of an unfinished run: saved at most a minute apart, restored so that the run ends with the same bytes."""

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from textbloom.errors import UserError
from textbloom.tensors import load_metadata, load_tensors, save_tensors
from textbloom.training.trainer import Trainer


def fingerprint(settings: Any, files: Sequence[Path]) -> str:
    """A name for a run by all that decides its result: settings, and the bytes of data and code."""
    total = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for path in files:
        with path.open("rb") as file:
            total.update(hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()[:16]


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold a run's folder for this process alone; a second process gets a UserError that names the holder.

    The lock is the kernel's, so it ends with the process, however that ends.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = folder / "lock"
    with lock.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise UserError(
                f"{folder}: process {file.read() or '(unknown)'} already trains this very run; wait for it or end it"
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def save(folder: Path, trainer: Trainer, history: Mapping[str, Any], sheets: Tensor) -> None:
    """Write all that decides the rest of the run: networks, average, optimizers, step; and what was logged so far.

    Args:
        history: JSON-like log of the run.
        sheets: uint8 progress pictures so far.
    """
    tensors = {"sheets": sheets}
    for name, network in _networks(trainer).items():
        tensors |= {f"{name}/{key}": value for key, value in network.state_dict().items()}
    for name, optimizer in _optimizers(trainer).items():
        for index, slots in optimizer.state_dict()["state"].items():
            tensors |= {f"{name}/{index}/{slot}": value for slot, value in slots.items()}
    save_tensors(folder / "state.safetensors", tensors, {"step": trainer.step, "history": history})


def restore(folder: Path, trainer: Trainer) -> tuple[dict[str, Any], Tensor] | None:
    """Set `trainer` to the saved state; returns (history, sheets), or None when there is no saved state."""
    path = folder / "state.safetensors"
    if not path.exists():
        return None
    tensors, metadata = load_tensors(path), load_metadata(path)
    for name, network in _networks(trainer).items():
        network.load_state_dict(_under(tensors, f"{name}/"))
    for name, optimizer in _optimizers(trainer).items():
        weights = optimizer.param_groups[0]["params"]
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in _under(tensors, f"{name}/").items():
            index, slot = key.split("/")
            # A file has no memory layout, and a fused optimizer takes its moments to lie as the weights do.
            like = weights[int(index)] if value.ndim else value
            state.setdefault(int(index), {})[slot] = torch.empty_like(like, requires_grad=False).copy_(value)
        optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    trainer.step = metadata["step"]
    return metadata["history"], tensors["sheets"]


def forget(folder: Path) -> None:
    """Remove the state of a finished run."""
    shutil.rmtree(folder, ignore_errors=True)


def _networks(trainer: Trainer) -> dict[str, nn.Module]:
    return {"generator": trainer.generator, "discriminator": trainer.discriminator, "ema": trainer.ema.network}


def _optimizers(trainer: Trainer) -> dict[str, torch.optim.Optimizer]:
    return {"optimizer_g": trainer.optimizer_g, "optimizer_d": trainer.optimizer_d}


def _under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
