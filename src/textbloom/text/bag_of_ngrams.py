"""The bag-of-n-grams encoder: a caption is the sum of the vectors of its words and of its pairs of neighbouring words.

As in Joulin, Grave, Bojanowski, Mikolov, "Bag of Tricks for Efficient Text Classification", 2017, section 2, but with
the sum over n words and pairs divided by √n, not n: a long caption, which says more, keeps a longer vector.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, Self

import torch
from torch import Tensor, nn

from textbloom.core.errors import UserError
from textbloom.text.joint_embedding import EMBEDDING_DIM

MINIMUM = 8  # training captions that a word or pair must be in; rarer ones would be learnt by heart
_PADDING = 0  # the token that fills the end of a row
_WORD = re.compile(r"\w+")


def ngrams(caption: str) -> list[str]:
    """The different words of a caption, lower-cased, then its different pairs of neighbours, "yellow centre"."""
    words = _WORD.findall(caption.lower())
    return list(dict.fromkeys(words + [f"{left} {right}" for left, right in pairwise(words)]))


@dataclass(frozen=True)
class NgramTokenizer:
    """The words and pairs that the training captions hold often, in alphabetical order: the first is token 1."""

    vocabulary: tuple[str, ...]

    @classmethod
    def fit(cls, captions: Sequence[str]) -> Self:
        counts = Counter(ngram for caption in captions for ngram in ngrams(caption))
        often = sorted(ngram for ngram, count in counts.items() if count >= MINIMUM)
        if not often:
            raise UserError(
                f"encoder.name: bag-of-ngrams learns from words that {MINIMUM} training captions hold, and there are "
                "none: take more pictures (data.limit) or captions (captions.per_image), or a pretrained encoder"
            )
        return cls(tuple(often))

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self | None:
        return cls(tuple(config["vocabulary"]))

    @property
    def config(self) -> dict[str, Any]:
        return {"vocabulary": list(self.vocabulary)}

    def __call__(self, captions: Sequence[str]) -> Tensor:
        """Captions as tokens int32 [n, L], 0 where a row has fewer than L; L >= 1 is the most that one of them has."""
        rows = [[self._token_of[ngram] for ngram in ngrams(caption) if ngram in self._token_of] for caption in captions]
        tokens = torch.full((len(rows), max([1, *map(len, rows)])), _PADDING, dtype=torch.int32)
        for row, known in zip(tokens, rows, strict=True):
            row[: len(known)] = torch.tensor(known, dtype=torch.int32)
        return tokens

    def network(self) -> nn.Module:
        return BagOfNgrams(len(self.vocabulary))

    @cached_property
    def _token_of(self) -> dict[str, int]:
        return {ngram: token for token, ngram in enumerate(self.vocabulary, start=1)}


class BagOfNgrams(nn.Module):
    """Tokens [B, L] to embeddings float32 [B, EMBEDDING_DIM]: (Σ vectors of the n tokens) / √n + bias."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.vectors = nn.EmbeddingBag(vocabulary + 1, EMBEDDING_DIM, mode="sum", padding_idx=_PADDING)
        self.bias = nn.Parameter(torch.zeros(EMBEDDING_DIM))
        # As an nn.Linear on the vocabulary starts: the loss, not the initial weights, should decide what a word means.
        bound = vocabulary**-0.5
        with torch.no_grad():
            self.vectors.weight.uniform_(-bound, bound)[_PADDING] = 0

    def forward(self, tokens: Tensor) -> Tensor:
        counts = (tokens != _PADDING).sum(1, keepdim=True).clamp(min=1)
        return self.vectors(tokens) / counts.sqrt() + self.bias
