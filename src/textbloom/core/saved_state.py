"""The state of an unfinished run in one file, from which another process goes on to the same bytes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from textbloom.core.tensors import load_metadata, load_tensors, save_tensors


def file(folder: Path) -> Path:
    """The saved state in the folder of an unfinished run."""
    return folder / "state.safetensors"


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
