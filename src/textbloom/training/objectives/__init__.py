"""The objectives: what the two networks of a system learn from."""

from typing import Any

from textbloom.training.objectives.base import Objective
from textbloom.training.objectives.gan_cls import GanCls

# The three published systems share one objective, each with its own weights (presets/).
OBJECTIVES: dict[str, type[Objective]] = {"dcgan": GanCls, "gan-cls": GanCls, "stackgan": GanCls}


def build(name: str, **settings: Any) -> Objective:
    """The objective of the system `name`; `settings` are the keys of `objective` in params.yaml."""
    return OBJECTIVES[name](**settings)
