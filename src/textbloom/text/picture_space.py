"""The space that texts are embedded into: groups of frozen picture features, balanced and reduced."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

# Chosen with a bag-of-words encoder on the 20 validation classes of Oxford-102.
WEIGHTS = {"last": 1.0, "stages": 0.7, "colours": 0.5}
_STEADY = 1e-6  # added to standard deviations: a feature that never varies says nothing, and must not divide by 0


@dataclass(frozen=True)
class PictureSpace:
    """Standardise each feature, bring each group to its weight in length, join, centre, rotate, bring to length 1.

    means, deviations: of each group, [F_group]. centre: [F]. components: [F, D], orthonormal columns.
    """

    means: dict[str, Tensor]
    deviations: dict[str, Tensor]
    centre: Tensor
    components: Tensor

    def __call__(self, groups: Mapping[str, Tensor]) -> Tensor:
        """Features [N, F_group] of each group as float32 [N, D], each of length 1."""
        joined = _joined(groups, self.means, self.deviations)
        return functional.normalize((joined - self.centre) @ self.components, dim=1).float()


def fit(groups: Mapping[str, Tensor], dims: int) -> PictureSpace:
    """The space of the `dims` directions in which training features vary most; needs `dims` features at least.

    Deterministic: closed forms in float64.
    """
    means = {name: groups[name].double().mean(0) for name in WEIGHTS}
    deviations = {name: groups[name].double().std(0, correction=0) + _STEADY for name in WEIGHTS}
    joined = _joined(groups, means, deviations)
    directions = torch.linalg.eigh(torch.cov(joined.T, correction=0)).eigenvectors  # in ascending order of variance
    return PictureSpace(means, deviations, joined.mean(0), directions.flip(1)[:, :dims])


def _joined(groups: Mapping[str, Tensor], means: Mapping[str, Tensor], deviations: Mapping[str, Tensor]) -> Tensor:
    parts = [
        weight * functional.normalize((groups[name].double() - means[name]) / deviations[name], dim=1)
        for name, weight in WEIGHTS.items()
    ]
    return torch.cat(parts, 1)
