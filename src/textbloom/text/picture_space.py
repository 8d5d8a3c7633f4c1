"""The space that texts are embedded into: frozen picture features, reduced to the text encoder's dimensions."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class PictureSpace:
    """An affine map to principal components, then to length 1.

    mean: [F]; components: [F, D], orthonormal columns, scaled.
    """

    mean: Tensor
    components: Tensor

    def __call__(self, features: Tensor) -> Tensor:
        """Features [..., F] to float32 [..., D], each of length 1 (0 for the mean itself)."""
        mapped = (features.double() - self.mean) @ self.components
        return torch.nn.functional.normalize(mapped, dim=-1).float()


def fit(features: Tensor, dims: int) -> PictureSpace:
    """The `dims` directions of largest variance of training features [N, F], dims <= F.

    Deterministic: a closed form in float64.
    """
    exact = features.double()
    mean = exact.mean(0)
    covariance = torch.cov(exact.T, correction=0)
    directions = torch.linalg.eigh(covariance).eigenvectors  # in ascending order of variance
    return PictureSpace(mean, directions.flip(1)[:, :dims])
