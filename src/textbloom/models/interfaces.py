"""What a system's two networks offer the training loop, whatever they are inside."""

from abc import ABC, abstractmethod

from torch import Tensor, nn


class Generator(nn.Module, ABC):
    """Noise and text in, pictures out."""

    noise_dim: int

    @abstractmethod
    def forward(self, noise: Tensor, text: Tensor) -> Tensor:
        """Noise [B, Z] and text embeddings [B, D] to pictures [B, 3, S, S] in [-1, 1]."""


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
