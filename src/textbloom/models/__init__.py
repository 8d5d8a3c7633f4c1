"""The networks: one system a file behind the same two interfaces, built by name."""

from textbloom.models import dcgan
from textbloom.models.interfaces import Discriminator, Generator

SYSTEMS = {"dcgan": dcgan.build}


def build(
    name: str,
    *,
    size: int,
    embedding_dim: int,
    noise_dim: int,
    features: int,
    text_projection: int,
    discriminator_text: bool,
) -> tuple[Generator, Discriminator]:
    """The generator and discriminator of the system `name`, with the framework's current random state as their init.

    Args:
        name: a key of SYSTEMS.
        size: side S of the pictures in pixels.
        embedding_dim: length D of a text embedding.
        noise_dim: length Z of the noise.
        features: width F of the narrowest layer.
        text_projection: length P of the projected text.
        discriminator_text: whether the discriminator sees the text.
    """
    return SYSTEMS[name](
        size=size,
        embedding_dim=embedding_dim,
        noise_dim=noise_dim,
        features=features,
        text_projection=text_projection,
        discriminator_text=discriminator_text,
    )
