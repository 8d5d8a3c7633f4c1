"""A trained generator as later stages and people use it: pictures from embeddings."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from textbloom import models
from textbloom.core import runtime, trained_folder
from textbloom.core.errors import UserError
from textbloom.core.seeding import generator_for
from textbloom.core.tensors import to_uint8
from textbloom.models.base import Generator, RefiningGenerator

_BATCH = {"cpu": 64, "cuda": 256}  # on a CPU 256 are a fifth slower, because they do not fit in its caches


@dataclass(frozen=True)
class TrainedGenerator:
    """A generator in evaluation mode with the config of its training.

    first: the first stage, of a generator of two; it takes the first part of the noise.
    """

    network: Generator
    config: dict[str, Any]
    device: torch.device
    first: "TrainedGenerator | None" = None

    @property
    def noise_dim(self) -> int:
        """Length Z of the noise."""
        return self.network.noise_dim

    @property
    def size(self) -> int:
        """Side S of its pictures."""
        return int(self.config["network"]["size"])

    def noise(self, count: int, seed: int, purpose: str = "sample noise") -> Tensor:
        """Standard normal noise [count, Z], drawn on the CPU: the same for a seed and purpose on every device."""
        return torch.randn(count, self.noise_dim, generator=generator_for(seed, purpose))

    @torch.inference_mode()
    def sample(self, embeddings: Tensor, noise: Tensor) -> Tensor:
        """Pictures uint8 [n, 3, S, S] for embeddings [n, D] and noise [n, Z]."""
        wanted = self.config["network"]["embedding_dim"]
        if embeddings.shape[1] != wanted:
            raise UserError(
                f"the generator was trained on {wanted}-d embeddings, these have {embeddings.shape[1]}: "
                "set encoder.name back or run `make repro`"
            )
        batch_size = _BATCH[self.device.type]
        batches = zip(noise.split(batch_size), embeddings.split(batch_size), strict=True)
        return torch.cat([to_uint8(self.network(z.to(self.device), t.to(self.device))).cpu() for z, t in batches])


def truncated(noise: Tensor, limit: float) -> Tensor:
    """Standard normal noise with all its numbers moved into [-limit, limit], in their order: a truncated normal's.

    Less noise gives fewer odd pictures and less variety (Brock et al. 2019, arXiv 1809.11096, section 3.1, where what
    lies outside is drawn again; here the same draw follows the limit without a jump).
    """
    normal = torch.distributions.Normal(0.0, 1.0)
    outside = normal.cdf(torch.tensor(-limit))
    return normal.icdf(outside + normal.cdf(noise) * (1 - 2 * outside)).clamp(-limit, limit)


def load_generator(folder: Path, weights: trained_folder.Weights) -> TrainedGenerator:
    """The averaged ("ema"), the raw or the best generator of `folder`, on the device at hand; see `trained_folder`."""
    network, config = trained_folder.load_generator(folder, weights, models.generator_of)
    device = runtime.device()
    network.to(device)
    first = None
    if isinstance(network, RefiningGenerator):
        first = TrainedGenerator(network.first, {**config, "network": config["first"]}, device)
    return TrainedGenerator(network, config, device, first)
