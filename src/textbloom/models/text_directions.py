"""What of a caption's embedding a network looks at: the directions in which captions differ, small ones raised."""

import torch
from torch import Tensor, nn

EVENNESS = 0.25  # a direction's variance v becomes v to the power 1 - 2 · EVENNESS: 0 leaves it, 0.5 makes all alike
SMALLEST = 1e-3  # of the mean variance: what a direction counts for that varies less


class TextDirections(nn.Module):
    """Embeddings [B, D] to their main directions [B, P], small ones raised.

    Sentences of one kind have nearly one vector: what they say of colours, and of which part has them, lies in
    directions of little variance, which a network learns last. Until `fit` has seen the captions, the directions are
    the first P numbers.
    """

    def __init__(self, embedding_dim: int, most: int | None) -> None:
        """`most`: the P directions of most variance are kept; None: all, P is D."""
        super().__init__()
        self.dim = min(embedding_dim, most or embedding_dim)
        self.mean: Tensor
        self.directions: Tensor
        self.register_buffer("mean", torch.zeros(embedding_dim))
        self.register_buffer("directions", torch.eye(embedding_dim, self.dim))

    @torch.no_grad()
    def fit(self, embeddings: Tensor) -> None:
        """Take mean and main directions from embeddings [R, D]; the directions then have variance 1 on average."""
        wide = embeddings.double()
        mean = wide.mean(0)
        variances, vectors = torch.linalg.eigh((wide - mean).T @ (wide - mean) / len(wide))
        least = SMALLEST * variances.mean()
        variances, vectors = variances.flip(0)[: self.dim].clamp_min(least), vectors.flip(1)[:, : self.dim]
        # An eigenvector's sign is arbitrary: its largest entry shall be positive.
        signs = vectors.gather(0, vectors.abs().argmax(0, keepdim=True)).sign()
        scales = variances**-EVENNESS
        scales /= (variances * scales.square()).mean().sqrt()
        self.mean.copy_(mean)
        self.directions.copy_(vectors * signs * scales)

    def forward(self, text: Tensor) -> Tensor:
        return (text - self.mean) @ self.directions
