"""The state of an unfinished run, saved at most a minute apart and restored so that it ends with the same bytes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from textbloom.core.tensors import load_metadata, load_tensors, save_tensors
from textbloom.training.trainer import Trainer


def file(folder: Path) -> Path:
    """The saved state in the folder of an unfinished run."""
    return folder / "state.safetensors"


def save(path: Path, trainer: Trainer, history: Mapping[str, Any], sheets: Tensor) -> None:
    """Write all that decides the rest of the run: networks, average, optimizers, step; and what was logged so far.

    Args:
        history: JSON-like log of the run.
        sheets: uint8 progress pictures so far.

    Of several ranks, whose states are the same, the first alone writes.
    """
    if not trainer.ranks.first:
        return
    tensors = {"sheets": sheets}
    for name, network in networks(trainer).items():
        tensors |= {f"{name}/{key}": value for key, value in network.state_dict().items()}
    for name, optimizer in trainer.optimizers.items():
        for index, slots in optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer/{name}/{index}/{slot}": value for slot, value in slots.items()}
    save_tensors(path, tensors, {"step": trainer.step, "history": history})


def restore(path: Path, trainer: Trainer) -> tuple[dict[str, Any], Tensor]:
    """Set `trainer` to the state saved in `path`; returns (history, sheets). A missing file is a UserError."""
    tensors, metadata = load_tensors(path), load_metadata(path)
    for name, network in networks(trainer).items():
        network.load_state_dict(_under(tensors, f"{name}/"))
    for name, optimizer in trainer.optimizers.items():
        weights = [weight for group in optimizer.param_groups for weight in group["params"]]
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in _under(tensors, f"optimizer/{name}/").items():
            index, slot = key.split("/")
            # A file has no memory layout, and a fused optimizer takes its moments to lie as the weights do.
            like = weights[int(index)] if value.ndim else value
            state.setdefault(int(index), {})[slot] = torch.empty_like(like, requires_grad=False).copy_(value)
        optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    trainer.step = metadata["step"]
    return metadata["history"], tensors["sheets"]


def networks(trainer: Trainer) -> dict[str, nn.Module]:
    """All that has weights, by name."""
    of_system = trainer.networks
    return {"generator": of_system.generator, "discriminator": of_system.discriminator, "ema": trainer.ema.network}


def _under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
