"""System B: GAN-CLS on char-CNN-RNN embeddings (Delikonstantis and Bochalis 2021, after Reed et al. 2016).

Its networks are those of system A but for the generator's first activation and for the weights they start from.
"""

from functools import partial

from torch import nn

from textbloom.models import dcgan
from textbloom.models.base import Architecture, Discriminator, Generator

_SPREAD = 0.02  # standard deviation of the first weights: Radford et al. 2016, section 4


def build(architecture: Architecture) -> tuple[Generator, Discriminator]:
    """Both networks; published with 64 features and the text projected to 128."""
    generator, discriminator = dcgan.build(architecture, first_activation=partial(nn.ReLU, inplace=True))
    generator.apply(_start)
    discriminator.apply(_start)
    return generator, discriminator


def _start(layer: nn.Module) -> None:
    if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
        nn.init.normal_(layer.weight, 0.0, _SPREAD)
    elif isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
        nn.init.normal_(layer.weight, 1.0, _SPREAD)
