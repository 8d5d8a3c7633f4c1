"""The networks: one system a file behind the interfaces of `base`, built by name."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from textbloom.models import dcgan, gan_cls, projected_dcgan, stackgan, textbloom
from textbloom.models.base import Architecture, Discriminator, Generator
from textbloom.models.text_directions import TextDirections

SYSTEMS = {
    "dcgan": dcgan.build,
    "gan-cls": gan_cls.build,
    "stackgan": stackgan.build,
    "projected-dcgan": projected_dcgan.build,
    "textbloom": textbloom.build,
}
REFINEMENTS = {"stackgan": stackgan.refine}


def build(name: str, **architecture: Any) -> tuple[Generator, Discriminator]:
    """Generator and discriminator of the system `name`, a key of SYSTEMS; the framework's random state decides weights.

    Keywords are those of `Architecture`; TypeError for one it does not have.
    """
    return SYSTEMS[name](Architecture(**architecture))


def refine(first: Generator, name: str, **architecture: Any) -> tuple[Generator, Discriminator]:
    """The second stage of the system `name`, a key of REFINEMENTS, on its trained `first` generator."""
    return REFINEMENTS[name](Architecture(**architecture), first)


def fit_text(
    generator: Generator, discriminator: Discriminator, embeddings: Tensor, pictures: Tensor | None = None
) -> None:
    """Before training, let both networks choose what they look at in captions, from the training captions [R, D].

    It is chosen by the variance of all, or, where there are `pictures`, uint8 [R, 3, S, S], by their colours.
    """
    networks = (generator, discriminator)
    parts = [part for network in networks for part in network.modules() if isinstance(part, TextDirections)]
    for part in parts[:1]:
        part.fit(embeddings) if pictures is None else part.fit_colours(embeddings, pictures)
    for part in parts[1:]:  # all look at the same directions, and fitting takes seconds
        for own, fitted in zip(part.buffers(), parts[0].buffers(), strict=True):
            own.copy_(fitted)


def generator_of(config: Mapping[str, Any]) -> Generator:
    """An untrained generator from the config of a trained model.

    Its `network` holds the arguments of `build`, or those of `refine` where there is `first`, which describes the first
    stage.
    """
    if "first" not in config:
        return build(**config["network"])[0]
    return refine(build(**config["first"])[0], **config["network"])[0]
