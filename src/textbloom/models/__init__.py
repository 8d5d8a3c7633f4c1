"""The networks: one system a file behind the same two interfaces, built by name."""

from typing import Any

from textbloom.models import dcgan, gan_cls, stackgan
from textbloom.models.interfaces import Architecture, Discriminator, Generator

SYSTEMS = {"dcgan": dcgan.build, "gan-cls": gan_cls.build, "stackgan": stackgan.build}
REFINEMENTS = {"stackgan": stackgan.refine}


def build(name: str, **architecture: Any) -> tuple[Generator, Discriminator]:
    """Generator and discriminator of the system `name`, a key of SYSTEMS; the framework's random state decides weights.

    Keywords are those of `Architecture`; TypeError for one it does not have.
    """
    return SYSTEMS[name](Architecture(**architecture))


def refine(first: Generator, name: str, **architecture: Any) -> tuple[Generator, Discriminator]:
    """The second stage of the system `name`, a key of REFINEMENTS, on its trained `first` generator."""
    return REFINEMENTS[name](Architecture(**architecture), first)
