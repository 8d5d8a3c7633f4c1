"""System C: StackGAN, a sketch at 64 pixels and its refinement at 128 or 256.

Zhang et al. 2017 (arXiv 1612.03242), as rebuilt for birds by Ceriola and Fraschetti 2023. With `a.features` F = 96 the
widths are those of Zhang et al.'s code.
"""

import copy
from itertools import pairwise

import torch
from torch import Tensor, nn

from textbloom.models import base
from textbloom.models.base import Architecture
from textbloom.models.layers import MapToLogit, MatmulConv2d, Tanh

RESIDUAL_BLOCKS = 4


def build(architecture: Architecture) -> tuple["StackGanGenerator", "StackGanDiscriminator"]:
    """Stage I: a picture from noise and text alone."""
    return StackGanGenerator(architecture), StackGanDiscriminator(architecture)


def refine(architecture: Architecture, first: base.Generator) -> tuple["Refiner", "StackGanDiscriminator"]:
    """Stage II: `first`, frozen, and what makes a larger picture of its sketch; judged at the larger size."""
    return Refiner(architecture, first), StackGanDiscriminator(architecture)


class Conditioning(nn.Module):
    """Conditioning augmentation, section 3.2: ĉ = μ(φ) + σ(φ) · ε, so that a text has many neighbours."""

    def __init__(self, embedding_dim: int, dim: int) -> None:
        super().__init__()
        self.mean_and_log_variance = nn.Linear(embedding_dim, 2 * dim)

    def forward(self, text: Tensor, noise: Tensor) -> Tensor:
        """Text [B, D] and standard normal noise [B, P] to conditions [B, P]."""
        mean, log_variance = self.mean_and_log_variance(text).chunk(2, dim=1)
        return mean + (0.5 * log_variance).exp() * noise

    def divergence(self, text: Tensor) -> Tensor:
        """KL(N(μ, diag σ²) ‖ N(0, I)), the mean over batch and dimensions, a scalar (equation 2)."""
        mean, log_variance = self.mean_and_log_variance(text).float().chunk(2, dim=1)
        return -0.5 * (1.0 + log_variance - mean.square() - log_variance.exp()).mean()


class StackGanGenerator(base.Generator):
    """Stage I: noise [B, z + P] and text [B, D] to pictures [B, 3, S, S] in [-1, 1]; the last P numbers are ε."""

    def __init__(self, a: Architecture) -> None:
        super().__init__()
        self.noise_dim = a.noise_dim + a.text_projection
        self._split = (a.noise_dim, a.text_projection)
        self.condition = Conditioning(a.embedding_dim, a.text_projection)
        widths = [a.features << power for power in range(_doublings(4, a.size), -1, -1)]
        self.start = nn.Sequential(
            nn.Linear(a.noise_dim + a.text_projection, widths[0] * 16, bias=False),
            nn.BatchNorm1d(widths[0] * 16),
            nn.ReLU(inplace=True),
            nn.Unflatten(1, (widths[0], 4, 4)),
        )
        ups = [_up(before, after) for before, after in pairwise(widths)]
        self.picture = nn.Sequential(*ups, nn.Conv2d(widths[-1], 3, 3, 1, 1, bias=False), Tanh())

    def forward(self, noise: Tensor, text: Tensor) -> Tensor:
        z, spread = noise.split(self._split, dim=1)
        return self.picture(self.start(torch.cat([z, self.condition(text, spread)], dim=1)))

    def divergence(self, text: Tensor) -> Tensor:
        return self.condition.divergence(text)


class Refiner(base.RefiningGenerator):
    """Stage II: the sketch of a frozen stage I and the text again to pictures [B, 3, S, S] in [-1, 1], S = 128 or 256.

    Of the noise [B, Z₁ + P] the first Z₁ numbers go to stage I; the last P are ε of this stage's own conditions.
    """

    def __init__(self, a: Architecture, first: base.Generator) -> None:
        super().__init__()
        self.first = copy.deepcopy(first).requires_grad_(False)
        self._split = (first.noise_dim, a.text_projection)
        self.noise_dim = sum(self._split)
        self.condition = Conditioning(a.embedding_dim, a.text_projection)
        f = a.features
        self.sketch = nn.Sequential(
            _same(3, 2 * f, norm=False),
            _down(2 * f, 4 * f, nn.ReLU(inplace=True)),
            _down(4 * f, 8 * f, nn.ReLU(inplace=True)),
        )
        self.join = _same(8 * f + a.text_projection, 8 * f)
        self.residual = nn.Sequential(*(_Residual(8 * f) for _ in range(RESIDUAL_BLOCKS)))
        # The sketch of 64 pixels has become 16 by 16.
        widths = [(8 * f) >> power for power in range(_doublings(16, a.size) + 1)]
        ups = [_up(before, after) for before, after in pairwise(widths)]
        self.picture = nn.Sequential(*ups, nn.Conv2d(widths[-1], 3, 3, 1, 1, bias=False), Tanh())

    def train(self, mode: bool = True) -> "Refiner":
        super().train(mode)
        self.first.eval()  # frozen to its batch statistics too
        return self

    def forward(self, noise: Tensor, text: Tensor) -> Tensor:
        below, spread = noise.split(self._split, dim=1)
        features = self.sketch(self.first(below, text))
        joined = self.join(_with_text(features, self.condition(text, spread)))
        return self.picture(self.residual(joined))

    def divergence(self, text: Tensor) -> Tensor:
        return self.condition.divergence(text)


class StackGanDiscriminator(base.Discriminator):
    """Pictures [B, 3, S, S] to features [B, 8F, 4, 4] of one scale, judged with the text in P numbers (section 3.3)."""

    def __init__(self, a: Architecture) -> None:
        super().__init__()
        f = a.features
        widths = [f << power for power in range(_doublings(4, a.size))]
        layers: list[nn.Module] = [nn.Conv2d(3, f, 4, 2, 1, bias=False), nn.LeakyReLU(0.2, inplace=True)]
        layers += [_down(before, after, nn.LeakyReLU(0.2, inplace=True)) for before, after in pairwise(widths)]
        # Above 64 pixels the widths pass 8F: 3×3 convolutions bring them back.
        layers += [_same(before, after, nn.LeakyReLU(0.2, inplace=True)) for before, after in pairwise(widths[:2:-1])]
        self.picture = nn.Sequential(*layers)
        self.text = nn.Linear(a.embedding_dim, a.text_projection) if a.discriminator_text else None
        self.judge = nn.Sequential(
            _same(8 * f + (a.text_projection if a.discriminator_text else 0), 8 * f, nn.LeakyReLU(0.2, inplace=True)),
            MapToLogit(8 * f, 0, 4, bias=True),
        )

    def features(self, images: Tensor) -> list[Tensor]:
        return [self.picture(images)]

    def project(self, text: Tensor) -> Tensor | None:
        return None if self.text is None else nn.functional.leaky_relu(self.text(text), 0.2)

    def score(self, features: list[Tensor], text: Tensor | None) -> Tensor:
        return self.judge(features[-1] if text is None else _with_text(features[-1], text))


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.change = nn.Sequential(
            _same(width, width), nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width)
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x + self.change(x))


def _with_text(features: Tensor, text: Tensor) -> Tensor:
    """Text [B, P] beside every place of features [B, C, H, W]: [B, C + P, H, W]."""
    everywhere = text[:, :, None, None].expand(-1, -1, *features.shape[2:])
    return torch.cat([features, everywhere.to(features.dtype)], dim=1)


def _same(before: int, after: int, activation: nn.Module | None = None, norm: bool = True) -> nn.Sequential:
    normed = [nn.BatchNorm2d(after)] if norm else []
    return nn.Sequential(MatmulConv2d(before, after, 3, 1, 1), *normed, activation or nn.ReLU(inplace=True))


def _down(before: int, after: int, activation: nn.Module) -> nn.Sequential:
    return nn.Sequential(MatmulConv2d(before, after, 4, 2, 1), nn.BatchNorm2d(after), activation)


def _up(before: int, after: int) -> nn.Sequential:
    return nn.Sequential(nn.Upsample(scale_factor=2, mode="nearest"), _same(before, after))


def _doublings(small: int, large: int) -> int:
    """How often `small` doubles to become `large`."""
    power = (large // small).bit_length() - 1
    assert large == small << power, f"picture size {large}: {small} times a power of two"
    return power
