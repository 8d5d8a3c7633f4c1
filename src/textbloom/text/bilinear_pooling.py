"""Bilinear pooling: a caption's vector of the products of each word's features, not of their sums.

The mean of the words' vectors, which is what sentence encoders give, hardly tells a white flower with a purple centre
from a purple one with a white centre: both have the same words. What one word's vector says of two things at a time,
which colour it is and which part it stands by, is a product, and the mean of products keeps it.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn

from textbloom.core.seeding import generator_for

DIM = 768  # numbers of a caption's vector


class BilinearPooling(nn.Module):
    """Word vectors [B, L, D] to caption vectors [B, DIM], as the last module of a sentence-transformers model.

    Number k is the mean over the words h of (a·h)(b·h) / D, where the vectors a and b of each k are random signs: the
    dot product of two captions' vectors then comes near the mean of (h·h')² over all pairs of their words (random
    Maclaurin features, Kar and Karnick 2012, arXiv 1201.6530, algorithm 1; for pooling, Gao et al. 2016, arXiv
    1511.06062). The signs are the same for ever: nothing is learned.
    """

    def __init__(self, word_dim: int) -> None:
        super().__init__()
        signs = torch.randint(0, 2, (2, word_dim, DIM), generator=generator_for(0, "bilinear pooling")) * 2.0 - 1.0
        left, right = signs / math.sqrt(word_dim)
        self.left: Tensor
        self.right: Tensor
        self.register_buffer("left", left)
        self.register_buffer("right", right)

    def forward(self, features: dict[str, Any]) -> dict[str, Any]:
        words, mask = features["token_embeddings"], features["attention_mask"][:, :, None]
        products = (words @ self.left) * (words @ self.right) * mask
        return {**features, "sentence_embedding": products.sum(1) / mask.sum(1)}
