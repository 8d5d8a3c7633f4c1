"""System A: the text-conditional DCGAN of the DCGAN-BERT course project (AI VIET NAM, 2023 and 2025).

Generator and discriminator after Radford et al. 2016 (arXiv 1511.06434), the text joined as in Reed et al. 2016
(arXiv 1605.05396). The depth follows the picture size; no convolution has a bias.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn

from textbloom.models import interfaces


def build(
    *,
    size: int,
    embedding_dim: int,
    noise_dim: int,
    features: int,
    text_projection: int,
    discriminator_text: bool,
) -> tuple["Generator", "Discriminator"]:
    """Both networks; see `textbloom.models.build` for the arguments."""
    generator = Generator(size, embedding_dim, noise_dim, features, text_projection)
    discriminator = Discriminator(size, embedding_dim, features, text_projection if discriminator_text else 0)
    return generator, discriminator


class TextProjection(nn.Sequential):
    """Text embedding [B, D] to [B, P]: linear, batch norm, leaky ReLU."""

    def __init__(self, embedding_dim: int, projection: int) -> None:
        super().__init__(nn.Linear(embedding_dim, projection), nn.BatchNorm1d(projection), nn.LeakyReLU(0.2))


class Generator(interfaces.Generator):
    """Noise [B, Z] and text [B, D] to pictures [B, 3, S, S] in [-1, 1], S = 64 or 128."""

    def __init__(self, size: int, embedding_dim: int, noise_dim: int, features: int, text_projection: int) -> None:
        super().__init__()
        self.noise_dim = noise_dim
        self.text = TextProjection(embedding_dim, text_projection)
        widths = [8 * features, 4 * features, 2 * features, features] + [features] * _extra_blocks(size)
        layers: list[nn.Module] = [
            nn.ConvTranspose2d(noise_dim + text_projection, widths[0], 4, 1, 0, bias=False),
            nn.BatchNorm2d(widths[0]),
            nn.LeakyReLU(0.2, inplace=True),
        ]
        for before, after in pairwise(widths):
            layers += [
                nn.ConvTranspose2d(before, after, 4, 2, 1, bias=False),
                nn.BatchNorm2d(after),
                nn.ReLU(inplace=True),
            ]
        layers += [nn.ConvTranspose2d(features, 3, 4, 2, 1, bias=False), nn.Tanh()]
        self.picture = nn.Sequential(*layers)

    def forward(self, noise: Tensor, text: Tensor) -> Tensor:
        return self.picture(torch.cat([noise, self.text(text)], dim=1)[:, :, None, None])


class Discriminator(interfaces.Discriminator):
    """Pictures [B, 3, S, S] to features [B, 8F, 4, 4], judged with text [B, D]; `text_projection` 0 leaves text out."""

    def __init__(self, size: int, embedding_dim: int, features: int, text_projection: int) -> None:
        super().__init__()
        # The published stem has no batch norm; at 128 a second block without it follows.
        layers: list[nn.Module] = []
        channels = 3
        for _ in range(1 + _extra_blocks(size)):
            layers += [nn.Conv2d(channels, features, 4, 2, 1, bias=False), nn.LeakyReLU(0.2, inplace=True)]
            channels = features
        for factor in (2, 4, 8):
            layers += [
                nn.Conv2d(channels, factor * features, 4, 2, 1, bias=False),
                nn.BatchNorm2d(factor * features),
                nn.LeakyReLU(0.2, inplace=True),
            ]
            channels = factor * features
        self.picture = nn.Sequential(*layers)
        self.text = TextProjection(embedding_dim, text_projection) if text_projection else None
        self.judge = nn.Conv2d(8 * features + text_projection, 1, 4, 1, 0, bias=False)

    def features(self, images: Tensor) -> Tensor:
        return self.picture(images)

    def project(self, text: Tensor) -> Tensor | None:
        return None if self.text is None else self.text(text)

    def score(self, features: Tensor, text: Tensor | None) -> Tensor:
        if text is not None:
            everywhere = text[:, :, None, None].expand(-1, -1, *features.shape[2:])
            features = torch.cat([features, everywhere.to(features.dtype)], dim=1)
        return self.judge(features).flatten()


def _extra_blocks(size: int) -> int:
    """Blocks beyond those of a 64-pixel picture: 0 at 64, 1 at 128."""
    extra = size.bit_length() - 7
    assert size == 64 << extra >= 64, f"picture size {size}: a power of two from 64 on"
    return extra
