"""What a system's two networks offer the training loop, whatever they are inside."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Tensor, nn


@dataclass(frozen=True)
class Architecture:
    """What decides the shapes of a system's networks; `model` in params.yaml.

    size: side S of the pictures in pixels.
    embedding_dim: length D of a text embedding.
    noise_dim: length of the noise vector z; a system may take more noise than that (`Generator.noise_dim`).
    features: width F of the narrowest layer.
    text_projection: length P of the projected text.
    discriminator_text: whether the discriminator sees the text.
    """

    size: int
    embedding_dim: int
    noise_dim: int
    features: int
    text_projection: int
    discriminator_text: bool


class Generator(nn.Module, ABC):
    """Noise and text in, pictures out: all chance comes in with the noise, of `noise_dim` numbers a picture."""

    noise_dim: int

    @abstractmethod
    def forward(self, noise: Tensor, text: Tensor) -> Tensor:
        """Standard normal noise [B, Z] and text embeddings [B, D] to pictures [B, 3, S, S] in [-1, 1]."""

    def divergence(self, text: Tensor) -> Tensor:
        """KL divergence of the text's conditioning from a standard normal, a scalar; zero where it is no distribution.

        Its weight is `objective.conditioning_kl`.
        """
        return text.new_zeros(())


class Refining(Generator):
    """A second stage: it makes its pictures of those of `first`, which takes the first part of the noise."""

    first: Generator


class Discriminator(nn.Module, ABC):
    """Judges pictures in two steps, so that one picture's features can be judged beside several texts."""

    @abstractmethod
    def features(self, images: Tensor) -> Tensor:
        """Pictures [B, 3, S, S] in [-1, 1] to picture features [B, C, 4, 4]."""

    @abstractmethod
    def project(self, text: Tensor) -> Tensor | None:
        """Text embeddings [B, D] to what `score` takes; None where the discriminator sees no text."""

    @abstractmethod
    def score(self, features: Tensor, text: Tensor | None) -> Tensor:
        """Picture features and projected text to logits [B] (no sigmoid): above 0 means real and matching."""

    def forward(self, images: Tensor, text: Tensor) -> tuple[Tensor, Tensor]:
        """Logits [B] and picture features of one pass."""
        features = self.features(images)
        return self.score(features, self.project(text)), features
