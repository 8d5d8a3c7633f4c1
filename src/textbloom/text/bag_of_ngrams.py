"""The bag-of-n-grams encoder: a caption is the sum of the vectors of its words and of its pairs of neighbouring words.

As in Joulin, Grave, Bojanowski, Mikolov, "Bag of Tricks for Efficient Text Classification", 2017, section 2, but with
the sum over n words and pairs divided by √n, not n: a long caption, which says more, keeps a longer vector.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from textbloom.core.errors import UserError
from textbloom.text.base import TrainedNetwork
from textbloom.text.joint_embedding import EMBEDDING_DIM
from textbloom.text.reading import Reading

MINIMUM = 8  # training captions that a word or pair must be in; rarer ones would be learnt by heart
_PADDING = 0  # the token that fills the end of a row
_WORD = re.compile(r"\w+")


def ngrams(caption: str) -> list[str]:
    """The different words of a caption, lower-cased, then its different pairs of neighbours, "yellow centre"."""
    words = _WORD.findall(caption.lower())
    return list(dict.fromkeys(words + [f"{left} {right}" for left, right in pairwise(words)]))


class BagOfNgrams(TrainedNetwork):
    """(Σ vectors of the n known words and pairs) / √n + bias. The first of the vocabulary is token 1."""

    def __init__(self, vocabulary: Sequence[str]) -> None:
        super().__init__()
        self.arguments = {"vocabulary": list(vocabulary)}
        self._token_of = {ngram: token for token, ngram in enumerate(vocabulary, start=1)}
        self.vectors = nn.EmbeddingBag(len(vocabulary) + 1, EMBEDDING_DIM, mode="sum", padding_idx=_PADDING)
        self.bias = nn.Parameter(torch.zeros(EMBEDDING_DIM))
        # As an nn.Linear on the vocabulary starts: the loss, not the initial weights, should decide what a word means.
        bound = len(vocabulary) ** -0.5
        with torch.no_grad():
            self.vectors.weight.uniform_(-bound, bound)[_PADDING] = 0

    @classmethod
    def fit(cls, captions: Sequence[str]) -> Self:
        """Its vocabulary is what the captions hold often, in alphabetical order."""
        counts = Counter(ngram for caption in captions for ngram in ngrams(caption))
        often = sorted(ngram for ngram, count in counts.items() if count >= MINIMUM)
        if not often:
            raise UserError(
                f"encoder.name: bag-of-ngrams learns from words that {MINIMUM} training captions hold, and there are "
                "none: take more pictures (data.limit) or captions (captions.per_image), or a pretrained encoder"
            )
        return cls(often)

    def tokens(self, captions: Sequence[str]) -> Tensor:
        """int32 [n, L], 0 where a row has fewer than L; L >= 1 is the most that one of the captions has."""
        rows = [torch.tensor(self._known(caption) or [_PADDING], dtype=torch.int32) for caption in captions]
        return pad_sequence(rows, batch_first=True, padding_value=_PADDING)

    def read(self, captions: Sequence[str]) -> Iterator[Reading]:
        """Rare words are left out by design; they are told where a caption has no others."""
        for caption in captions:
            known = self._known(caption)
            yield Reading(tuple(known), unknown=() if known else tuple(ngrams(caption)), blank=not known)

    def _known(self, caption: str) -> list[int]:
        return [self._token_of[ngram] for ngram in ngrams(caption) if ngram in self._token_of]

    def forward(self, tokens: Tensor) -> Tensor:
        counts = (tokens != _PADDING).sum(1, keepdim=True).clamp(min=1)
        return self.vectors(tokens) / counts.sqrt() + self.bias
