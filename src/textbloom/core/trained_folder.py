"""The folder of a trained model: which files it holds, and how networks are written to it and read from it."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ValidationError
from torch import nn

from textbloom.core.errors import UserError
from textbloom.core.files import read_json, write_json
from textbloom.core.tensors import load_tensors, save_tensors

GENERATOR = "generator.safetensors"
GENERATOR_EMA = "generator-ema.safetensors"
GENERATOR_BEST = "generator-best.safetensors"  # where train.evaluate_every chose an epoch
DISCRIMINATOR = "discriminator.safetensors"
CONFIG = "config.json"
PROGRESS = "progress.safetensors"  # the same captions and noise drawn as training went on
LOSSES = "losses.csv"  # the run's loss curves, which plots/ shows too

# Of the generator: averaged over training, as the last step left them, or averaged until the best epoch.
Weights = Literal["ema", "raw", "best"]
Network = TypeVar("Network", bound=nn.Module)

# What is raised where config.json and the weights do not fit each other.
_UNFIT = (AssertionError, AttributeError, KeyError, RuntimeError, TypeError, ValueError)


class _Weights(BaseModel):
    """Whose weights a network has, and from whose it learned."""

    name: str
    sha256: str
    pretrained: list["_Weights"] = []


class _Config(BaseModel):
    """What every reader of config.json may rely on."""

    network: dict[str, Any]
    encoder: _Weights
    pretrained: list[_Weights] = []


def save_networks(
    folder: Path, generator: nn.Module, ema: nn.Module, discriminator: nn.Module, config: Mapping[str, Any]
) -> None:
    """Write the networks as safetensors, and as JSON `config`, of which `models.generator_of` can make the generator.

    Its `encoder` tells whose embeddings the networks were trained on.
    """
    save_tensors(folder / GENERATOR, generator.state_dict())
    save_tensors(folder / GENERATOR_EMA, ema.state_dict())
    save_tensors(folder / DISCRIMINATOR, discriminator.state_dict())
    write_json(folder / CONFIG, config)


def read_config(folder: Path) -> dict[str, Any]:
    """What `save_networks` was given as `config`; a file that is missing or damaged is a UserError."""
    mend = "run `make repro`, which trains a generator"
    found = read_json(folder / CONFIG, mend)
    try:
        _Config.model_validate(found)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise UserError(f"{folder / CONFIG} is damaged ({key}: {first['msg']}): {mend}") from None
    return found


def load_generator(
    folder: Path, weights: Weights, build: Callable[[Mapping[str, Any]], Network]
) -> tuple[Network, dict[str, Any]]:
    """The generator of `folder`, in evaluation mode and frozen, and its config; `build` makes it of the config.

    A file that is missing or does not fit is a UserError.
    """
    config = read_config(folder)
    path = folder / {"ema": GENERATOR_EMA, "raw": GENERATOR, "best": GENERATOR_BEST}[weights]
    tensors = load_tensors(path)
    try:
        generator = build(config)
        generator.load_state_dict(tensors)
    except _UNFIT as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{path} does not fit {folder / CONFIG} ({reason}): run `make repro`") from None
    return generator.eval().requires_grad_(False), config
