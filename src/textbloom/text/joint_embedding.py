"""The space that pictures and texts share, and the loss that brings texts to their pictures in it.

The space is made of frozen picture features; a text encoder learns to embed captions into it. The loss is the symmetric
structured joint embedding of Reed, Akata, Schiele, Lee, "Learning Deep Representations of Fine-grained Visual
Descriptions", 2016, equations 1 to 5, with every wrong class of the batch in place of the worst one, as their training
does.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

EMBEDDING_DIM = 1024  # of pictures and texts, as published

# How much each group of picture features counts; chosen with a bag-of-words encoder on the 20 validation classes of
# Oxford-102.
WEIGHTS = {"last": 1.0, "stages": 0.7, "colours": 0.5}
_EPSILON = 1e-6  # added to standard deviations, so that a feature that never varies does not divide by 0


def compatibility(pictures: Tensor, texts: Tensor) -> Tensor:
    """F(v, t), the inner product of every picture [P, D] with every text [T, D]: [P, T]."""
    return pictures @ texts.T


def loss(pictures: Tensor, texts: Tensor, margin: float = 1.0) -> Tensor:
    """The symmetric hinge of B pairs of distinct classes, B >= 2; pictures and texts [B, D], row i of one class.

    max(0, margin + F(v_i, t_j) − F(v_i, t_i)) for wrong texts, max(0, margin + F(v_j, t_i) − F(v_i, t_i)) for wrong
    pictures; each averaged over the B (B − 1) pairs j ≠ i, then added. A scalar >= 0.
    """
    count = len(pictures)
    assert count >= 2 and len(texts) == count
    scores = compatibility(pictures, texts)
    right = scores.diagonal()
    wrong = ~torch.eye(count, dtype=torch.bool, device=scores.device)
    wrong_texts = (margin + scores - right[:, None]).relu()
    wrong_pictures = (margin + scores - right[None, :]).relu()
    return ((wrong_texts + wrong_pictures) * wrong).sum() / (count * (count - 1))


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


def fit_picture_space(groups: Mapping[str, Tensor], dims: int) -> PictureSpace:
    """The space of the `dims` directions in which training features vary most; needs `dims` features at least.

    Deterministic: closed forms in float64.
    """
    means = {name: groups[name].double().mean(0) for name in WEIGHTS}
    deviations = {name: groups[name].double().std(0, correction=0) + _EPSILON for name in WEIGHTS}
    joined = _joined(groups, means, deviations)
    # By numpy: of fewer pictures than features, torch's (MKL's) may not converge. In ascending order of variance.
    directions = torch.from_numpy(np.linalg.eigh(torch.cov(joined.T, correction=0).numpy()).eigenvectors)
    return PictureSpace(means, deviations, joined.mean(0), directions.flip(1)[:, :dims])


def _joined(groups: Mapping[str, Tensor], means: Mapping[str, Tensor], deviations: Mapping[str, Tensor]) -> Tensor:
    parts = [
        weight * functional.normalize((groups[name].double() - means[name]) / deviations[name], dim=1)
        for name, weight in WEIGHTS.items()
    ]
    return torch.cat(parts, 1)
