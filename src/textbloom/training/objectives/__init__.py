"""The objectives: what the two networks of a system learn from."""

from collections.abc import Callable
from inspect import signature
from typing import Any

from textbloom.training.objectives.base import Objective
from textbloom.training.objectives.gan_cls import GanCls
from textbloom.training.objectives.hinge import Hinge

# The three published systems share one objective, each with its own weights (presets/).
OBJECTIVES: dict[str, Callable[..., Objective]] = {
    "dcgan": GanCls,
    "gan-cls": GanCls,
    "stackgan": GanCls,
    "projected-dcgan": Hinge,
    "textbloom": Hinge,
}


def build(name: str, **settings: Any) -> Objective:
    """The objective of the system `name`; of `settings`, the keys of `objective` in params.yaml, it takes its own."""
    own = signature(OBJECTIVES[name]).parameters
    return OBJECTIVES[name](**{key: value for key, value in settings.items() if key in own})
