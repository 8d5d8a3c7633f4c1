"""Points between two points: on a straight line, and along an arc."""

import torch
from torch import Tensor


def straight(start: Tensor, end: Tensor, steps: int) -> Tensor:
    """`steps` evenly spaced points [steps, D] from `start` [D] to `end` [D], both included."""
    t = torch.linspace(0.0, 1.0, steps).unsqueeze(1)
    return start * (1.0 - t) + end * t


def spherical(start: Tensor, end: Tensor, steps: int) -> Tensor:
    """The same along the arc between them (Shoemake 1985, "slerp"), at equal angles.

    A normal vector of many dimensions has nearly the length √D; the points of a straight line between two are shorter,
    and unlike any noise that training drew (White 2016, "Sampling Generative Networks"). Points on one line through the
    origin span no arc: between them the way is straight.
    """
    cosine = torch.dot(start / start.norm(), end / end.norm()).clamp(-1.0, 1.0)
    angle = torch.arccos(cosine)
    if not angle.sin() > 1e-4:
        return straight(start, end, steps)
    t = torch.linspace(0.0, 1.0, steps).unsqueeze(1)
    return (torch.sin((1.0 - t) * angle) * start + torch.sin(t * angle) * end) / torch.sin(angle)
