"""The trained generator as later stages use it: its file, checked, and pictures from embeddings."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from textbloom import models
from textbloom.core import paths, runtime
from textbloom.core.errors import UserError
from textbloom.core.files import write_json
from textbloom.core.seeding import generator_for
from textbloom.core.tensors import load_tensors, save_tensors, to_uint8
from textbloom.models.interfaces import Generator, Refining

WEIGHTS = {"ema": paths.GENERATOR_EMA, "raw": paths.GENERATOR}


def save_networks(
    folder: Path, generator: nn.Module, ema: nn.Module, discriminator: nn.Module, config: dict[str, Any]
) -> None:
    """Write the networks as safetensors, and as JSON `config`.

    config: `network` holds the arguments of `models.build`, or for a second stage of `models.refine`, whose first stage
        `first` then describes; `encoder` tells whose embeddings it was trained on.
    """
    save_tensors(folder / paths.GENERATOR, generator.state_dict())
    save_tensors(folder / paths.GENERATOR_EMA, ema.state_dict())
    save_tensors(folder / paths.DISCRIMINATOR, discriminator.state_dict())
    write_json(folder / paths.MODEL_CONFIG, config)


_BATCH = {"cpu": 64, "cuda": 256}  # 256 are a fifth slower on a CPU: they leave its caches


@dataclass(frozen=True)
class TrainedGenerator:
    """A generator in evaluation mode with its training's `config`."""

    network: Generator
    config: dict[str, Any]
    device: torch.device
    first: "TrainedGenerator | None" = None  # the first stage, of a generator of two; it takes the noise's first part

    @property
    def noise_dim(self) -> int:
        """Length Z of the noise."""
        return self.network.noise_dim

    @property
    def size(self) -> int:
        """Side S of its pictures."""
        return int(self.config["network"]["size"])

    def noise(self, count: int, seed: int) -> Tensor:
        """Standard normal noise [count, Z], drawn on the CPU: the same for a seed on every device."""
        return torch.randn(count, self.noise_dim, generator=generator_for(seed, "sample noise"))

    @torch.inference_mode()
    def sample(
        self, embeddings: Tensor, seed: int, noise: Tensor | None = None, batch_size: int | None = None
    ) -> Tensor:
        """Pictures uint8 [n, 3, S, S] for embeddings [n, D], from `noise` [n, Z] or noise drawn by `seed`.

        `batch_size`: how many are made at once; None: as many as suit the device.
        """
        wanted = self.config["network"]["embedding_dim"]
        if embeddings.shape[1] != wanted:
            raise UserError(
                f"{paths.MODELS}/: the generator was trained on {wanted}-d embeddings, these have "
                f"{embeddings.shape[1]}: set encoder.name back or run `make repro`"
            )
        noise = self.noise(len(embeddings), seed) if noise is None else noise
        batch_size = batch_size or _BATCH[self.device.type]
        batches = zip(noise.split(batch_size), embeddings.split(batch_size), strict=True)
        return torch.cat([to_uint8(self.network(z.to(self.device), t.to(self.device))).cpu() for z, t in batches])


def load_generator(folder: Path, which: Literal["ema", "raw"]) -> TrainedGenerator:
    """The averaged or the raw generator of `folder`. A file that is missing or does not fit is a UserError."""
    try:
        config = json.loads((folder / paths.MODEL_CONFIG).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{folder / paths.MODEL_CONFIG} is missing: run `make repro` to train a generator") from None
    path = folder / WEIGHTS[which]
    weights = load_tensors(path)
    try:
        network = _built(config)
        network.load_state_dict(weights)
    except (RuntimeError, KeyError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{path} does not fit {folder / paths.MODEL_CONFIG} ({reason}): run `make repro`") from None
    device = runtime.device()
    network = network.to(device).eval().requires_grad_(False)
    first = None
    if isinstance(network, Refining):
        first = TrainedGenerator(network.first, {**config, "network": config["first"]}, device)
    return TrainedGenerator(network, config, device, first)


def _built(config: dict[str, Any]) -> Generator:
    if "first" not in config:
        return models.build(**config["network"])[0]
    first, _ = models.build(**config["first"])
    return models.refine(first, **config["network"])[0]
