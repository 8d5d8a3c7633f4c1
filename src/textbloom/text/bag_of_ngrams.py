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
from textbloom.text import coding

MINIMUM = 8  # captions that hold a word or pair: rarer ones would be learnt by heart
_NOTHING = 0  # the code that fills a row's end
_WORD = re.compile(r"\w+")


def ngrams(caption: str) -> list[str]:
    """The different words of a caption, lower-cased, then its different pairs of neighbours, "yellow centre"."""
    words = _WORD.findall(caption.lower())
    return list(dict.fromkeys(words + [f"{left} {right}" for left, right in pairwise(words)]))


@dataclass(frozen=True)
class NgramCoding:
    """The words and pairs that the training captions hold often, in alphabetical order: the first has code 1."""

    vocabulary: tuple[str, ...]

    @classmethod
    def learn(cls, captions: Sequence[str]) -> Self:
        held = Counter(ngram for caption in captions for ngram in ngrams(caption))
        often = sorted(ngram for ngram, count in held.items() if count >= MINIMUM)
        if not often:
            raise UserError(
                f"encoder.name: bag-of-ngrams learns from words that {MINIMUM} training captions hold, and there are "
                "none: take more pictures (data.limit) or captions (captions.per_image), or a pretrained encoder"
            )
        return cls(tuple(often))

    @classmethod
    def restore(cls, config: Mapping[str, Any]) -> Self | None:
        return cls(tuple(config["vocabulary"]))

    @property
    def config(self) -> dict[str, Any]:
        return {"vocabulary": list(self.vocabulary)}

    def codes(self, captions: Sequence[str]) -> Tensor:
        """Captions as codes int32 [n, L], 0 where a row has fewer than L; L >= 1 is the most that one of them has."""
        rows = [[self._codes[ngram] for ngram in ngrams(caption) if ngram in self._codes] for caption in captions]
        codes = torch.full((len(rows), max([1, *map(len, rows)])), _NOTHING, dtype=torch.int32)
        for row, known in zip(codes, rows, strict=True):
            row[: len(known)] = torch.tensor(known, dtype=torch.int32)
        return codes

    def network(self) -> nn.Module:
        return BagOfNgrams(len(self.vocabulary))

    @cached_property
    def _codes(self) -> dict[str, int]:
        return {ngram: code for code, ngram in enumerate(self.vocabulary, start=1)}


class BagOfNgrams(nn.Module):
    """Codes [B, L] to embeddings float32 [B, EMBEDDING_DIM]: (Σ vectors of the n codes) / √n + bias."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.vectors = nn.EmbeddingBag(vocabulary + 1, coding.EMBEDDING_DIM, mode="sum", padding_idx=_NOTHING)
        self.bias = nn.Parameter(torch.zeros(coding.EMBEDDING_DIM))
        # As nn.Linear on the vocabulary would start: the loss, not the start, should decide what a word means.
        bound = vocabulary**-0.5
        with torch.no_grad():
            self.vectors.weight.uniform_(-bound, bound)[_NOTHING] = 0

    def forward(self, codes: Tensor) -> Tensor:
        counts = (codes != _NOTHING).sum(1, keepdim=True).clamp(min=1)
        return self.vectors(codes) / counts.sqrt() + self.bias
