"""System A: the text-conditional DCGAN of the DCGAN-BERT course project (AI VIET NAM, 2023 and 2025).

Generator and discriminator after Radford et al. 2016 (arXiv 1511.06434), the text joined as in Reed et al. 2016
(arXiv 1605.05396). The depth follows the picture size; no convolution has a bias.
"""

from collections.abc import Callable
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor, nn

from textbloom.models import base
from textbloom.models.base import Architecture
from textbloom.models.layers import MapToLogit, MatmulConv2d, MatmulConvTranspose2d, Tanh, VectorToMap


def build(
    architecture: Architecture,
    first_activation: Callable[[], nn.Module] = partial(nn.LeakyReLU, 0.2, inplace=True),  # noqa: B008 (a constant)
) -> tuple["DcganGenerator", "DcganDiscriminator"]:
    """Both networks; `first_activation` follows the generator's first layer."""
    return DcganGenerator(architecture, first_activation), DcganDiscriminator(architecture)


class TextProjection(nn.Sequential):
    """Text embedding [B, D] to [B, P]: linear, batch norm, leaky ReLU."""

    def __init__(self, embedding_dim: int, projection: int) -> None:
        super().__init__(nn.Linear(embedding_dim, projection), nn.BatchNorm1d(projection), nn.LeakyReLU(0.2))


class DcganGenerator(base.Generator):
    """Noise [B, Z] and text [B, D] to pictures [B, 3, S, S] in [-1, 1], S = 64 or 128."""

    def __init__(self, a: Architecture, first_activation: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.noise_dim = a.noise_dim
        self.text = TextProjection(a.embedding_dim, a.text_projection)
        widths = [8 * a.features, 4 * a.features, 2 * a.features, a.features] + [a.features] * _extra_blocks(a.size)
        layers: list[nn.Module] = [
            VectorToMap(a.noise_dim + a.text_projection, widths[0], 4),
            nn.BatchNorm2d(widths[0]),
            first_activation(),
        ]
        for before, after in pairwise(widths):
            layers += [MatmulConvTranspose2d(before, after, 4, 2, 1), nn.BatchNorm2d(after), nn.ReLU(inplace=True)]
        layers += [nn.ConvTranspose2d(a.features, 3, 4, 2, 1, bias=False), Tanh()]
        self.picture = nn.Sequential(*layers)

    def forward(self, noise: Tensor, text: Tensor) -> Tensor:
        return self.picture(torch.cat([noise, self.text(text)], dim=1))


class DcganDiscriminator(base.Discriminator):
    """Pictures [B, 3, S, S] to features [B, 8F, 4, 4] of one scale, judged with text [B, D] or by themselves."""

    def __init__(self, a: Architecture) -> None:
        super().__init__()
        features = a.features
        # The published stem has no batch norm; at 128 a second block without it follows.
        layers: list[nn.Module] = []
        channels = 3
        for _ in range(1 + _extra_blocks(a.size)):
            layers += [nn.Conv2d(channels, features, 4, 2, 1, bias=False), nn.LeakyReLU(0.2, inplace=True)]
            channels = features
        for factor in (2, 4, 8):
            layers += [
                MatmulConv2d(channels, factor * features, 4, 2, 1),
                nn.BatchNorm2d(factor * features),
                nn.LeakyReLU(0.2, inplace=True),
            ]
            channels = factor * features
        self.picture = nn.Sequential(*layers)
        self.text = TextProjection(a.embedding_dim, a.text_projection) if a.discriminator_text else None
        self.judge = MapToLogit(8 * features, a.text_projection if a.discriminator_text else 0, 4)

    def features(self, images: Tensor) -> list[Tensor]:
        return [self.picture(images)]

    def project(self, text: Tensor) -> Tensor | None:
        return None if self.text is None else self.text(text)

    def score(self, features: list[Tensor], text: Tensor | None) -> Tensor:
        return self.judge(features[-1], text)


def _extra_blocks(size: int) -> int:
    """Blocks beyond those of a 64-pixel picture: 0 at 64, 1 at 128."""
    extra = size.bit_length() - 7
    assert size == 64 << extra >= 64, f"picture size {size}: a power of two from 64 on"
    return extra
