"""The course project's DCGAN generator, taught by the project's own discriminator.

System A's generator is kept layer by layer; before its first one stand the captions' main directions. The discriminator
is that of `textbloom`: mostly a pretrained network that never changes (Sauer et al. 2021, arXiv 2111.01007).
"""

from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn

from textbloom.models import dcgan
from textbloom.models.base import Architecture
from textbloom.models.text_directions import TextDirections
from textbloom.models.textbloom import ProjectedDiscriminator


def build(architecture: Architecture) -> tuple["ProjectedDcganGenerator", ProjectedDiscriminator]:
    """Both networks."""
    return ProjectedDcganGenerator(architecture), ProjectedDiscriminator(architecture)


class ProjectedDcganGenerator(dcgan.DcganGenerator):
    """Noise [B, Z] and text [B, D] to pictures [B, 3, S, S] in [-1, 1], S = 64 or 128."""

    def __init__(self, a: Architecture) -> None:
        directions = TextDirections(a.embedding_dim, a.text_directions)
        super().__init__(replace(a, embedding_dim=directions.dim), partial(nn.ReLU, inplace=True))
        self.directions = directions

    def forward(self, noise: Tensor, text: Tensor) -> Tensor:
        return super().forward(noise, self.directions(text))

    def before_tanh(self, noise: Tensor, text: Tensor) -> Tensor:
        return self.picture[:-1](torch.cat([noise, self.text(self.directions(text))], dim=1))

    def with_middle(self, text: Tensor, other: Tensor) -> Tensor:
        return self.directions.with_middle(text, other)
