"""What of a caption's embedding a network looks at: few directions, chosen from the training captions."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from textbloom.models.base import MIDDLE

EVENNESS = 0.25  # a direction's variance v becomes v to the power 1 - 2 · EVENNESS: 0 leaves it, 0.5 makes all alike
SMALLEST = 1e-3  # of the mean variance: what a direction counts for that varies less
RIDGE = 0.1  # of the mean variance: what is added to each direction's before captions are asked for colours
PLACES = 16  # a picture's colours are looked at in so many squares a side
SHADES = 3  # of red, of green and of blue that count as different
OF_MIDDLE = 3 / 8  # of the directions chosen by colours: those that tell the colours of the picture's middle


class TextDirections(nn.Module):
    """Embeddings [B, D] to some of their directions, [B, P].

    Until `fit` or `fit_colours` has seen the captions, the directions are the first P numbers.
    """

    def __init__(self, embedding_dim: int, most: int | None) -> None:
        """`most`: so many directions P are kept; None: all, P is D."""
        super().__init__()
        self.dim = min(embedding_dim, most or embedding_dim)
        self.mean: Tensor
        self.directions: Tensor
        self.register_buffer("mean", torch.zeros(embedding_dim))
        self.register_buffer("directions", torch.eye(embedding_dim, self.dim))
        self._exchange: Tensor
        self.register_buffer("_exchange", torch.zeros(embedding_dim, embedding_dim), persistent=False)

    @torch.no_grad()
    def fit(self, embeddings: Tensor) -> None:
        """Take the directions of most variance from embeddings [R, D], small ones raised; their mean variance is 1.

        Sentences of one kind have nearly one vector: what they say of colours, and of which part has them, lies in
        directions of little variance, which a network learns last.
        """
        mean, variances, vectors = _principal(embeddings)
        variances, vectors = variances[: self.dim].clamp_min(SMALLEST * variances.mean()), vectors[:, : self.dim]
        scales = variances**-EVENNESS
        scales /= (variances * scales.square()).mean().sqrt()
        self._take(mean, vectors, scales)

    @torch.no_grad()
    def fit_colours(self, embeddings: Tensor, pictures: Tensor) -> None:
        """Take the directions that tell most of the colours of pictures uint8 [N, 3, S, S], each of variance 1.

        The embeddings [N, D] are those of a caption of each. The directions are those of reduced-rank regression
        (Izenman 1975, doi 10.1016/0047-259X(75)90042-1), with a ridge, from captions to which colour stands where:
        first some for the picture's middle, then those for all around it, so that each part can be exchanged. What
        tells nothing of colours is left out, and no network can tell training captions apart by it.
        """
        mean, variances, vectors = _principal(embeddings)
        whiten = vectors * (variances + RIDGE * variances.mean()).rsqrt()
        whitened = (embeddings.double() - mean) @ whiten
        colours = colours_by_place(pictures).double()
        axis = torch.arange(PLACES).add(0.5).div(PLACES).sub(0.5).abs()
        middle = (axis[:, None] < MIDDLE / 2) & (axis < MIDDLE / 2)
        count = round(OF_MIDDLE * self.dim)
        parts = []
        for places, directions in ((middle, count), (~middle, self.dim - count)):
            wanted = colours[:, :, places].flatten(1)
            asked = whitened.T @ (wanted - wanted.mean(0))
            parts.append(whiten @ torch.linalg.svd(asked, full_matrices=False).U[:, :directions])
        chosen = torch.cat(parts, dim=1)
        self._take(mean, chosen, 1 / ((embeddings.double() - mean) @ chosen).std(0))
        self._exchange.copy_(self.directions[:, :count] @ torch.linalg.pinv(self.directions)[:count])

    def with_middle(self, text: Tensor, other: Tensor) -> Tensor:
        """Embeddings [B, D] that have the directions of the middle from `other` and all others from `text`."""
        return text + (other - text) @ self._exchange

    def _take(self, mean: Tensor, directions: Tensor, scales: Tensor) -> None:
        # A singular vector's sign is arbitrary: its largest entry shall be positive.
        signs = directions.gather(0, directions.abs().argmax(0, keepdim=True)).sign()
        self.mean.copy_(mean)
        self.directions.copy_(directions * signs * scales)

    def forward(self, text: Tensor) -> Tensor:
        return (text - self.mean) @ self.directions


def _principal(embeddings: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean [D], variances [D] and orthonormal directions [D, D] of embeddings [R, D], of most variance first."""
    wide = embeddings.double()
    mean = wide.mean(0)
    variances, vectors = torch.linalg.eigh((wide - mean).T @ (wide - mean) / len(wide))
    return mean, variances.flip(0), vectors.flip(1)


def colours_by_place(pictures: Tensor) -> Tensor:
    """Pictures uint8 [N, 3, S, S] to the share of each colour in each square, [N, SHADES³, PLACES, PLACES]."""
    shares = []
    for some in pictures.split(64):  # some at a time: one number a pixel and colour would fill the memory
        red, green, blue = (some.long() * SHADES // 256).unbind(1)
        colours = F.one_hot((red * SHADES + green) * SHADES + blue, SHADES**3)
        shares.append(F.adaptive_avg_pool2d(colours.permute(0, 3, 1, 2).float(), PLACES))
    return torch.cat(shares)
