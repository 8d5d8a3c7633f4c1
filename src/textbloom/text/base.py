"""What every text encoder is, and one whose network is trained here."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from textbloom.core.progress import progress
from textbloom.text import reading
from textbloom.text.reading import Reading


class TextEncoder(ABC):
    """A frozen encoder.

    metadata: what names the encoder and its weights, such as name, revision and sha256; it goes beside the vectors.
    """

    metadata: dict[str, Any]

    @property
    def limit(self) -> str:
        """How much is read of a caption, such as "256 tokens"; empty: all."""
        return ""

    @torch.inference_mode()
    def encode(self, captions: list[str], batch_size: int) -> Tensor:
        """Embeddings float32 [n, D] on the CPU, row by row as `captions`. Equal captions are encoded once."""
        distinct = sorted(set(captions))
        vectors: dict[str, Tensor] = {}
        with progress(None, "embed", "captions", len(distinct)) as bar:
            for batch, encoded in self.encoded(distinct, batch_size):
                vectors.update(zip(batch, encoded.float().cpu(), strict=True))
                bar.update(len(batch))
        return torch.stack([vectors[caption] for caption in captions])

    def read(self, captions: Sequence[str]) -> Iterator[Reading]:
        """What is read of each caption; of an encoder that does not say otherwise, all."""
        return map(Reading, captions)

    def check(self, captions: Sequence[str], refuse: bool = True, refuse_unknown: bool = False) -> None:
        """Say on stderr what is not read of the captions.

        With `refuse`, raises UserError where two would get one vector for it; with `refuse_unknown`, where nothing is
        known of one. Among the captions of a data set one such may stand: Oxford-102 has one that is "v".
        """
        distinct = list(dict.fromkeys(captions))
        readings = dict(zip(distinct, self.read(distinct), strict=True))
        reading.tell(readings, self.limit)
        if refuse_unknown:
            reading.refuse_unknown(captions, readings)
        if refuse:
            reading.refuse_alike(captions, readings)

    @abstractmethod
    def encoded(self, captions: list[str], batch_size: int) -> Iterator[tuple[list[str], Tensor]]:
        """The captions in batches, in any order, each with its embeddings [B, D]."""


class TrainedNetwork(nn.Module, TextEncoder):
    """Tokens [B, L] to embeddings float32 [B, EMBEDDING_DIM], of any length and sign; it makes the tokens, too.

    arguments: what the class makes the network of, for JSON.
    """

    arguments: dict[str, Any]

    @classmethod
    @abstractmethod
    def fit(cls, captions: Sequence[str]) -> Self:
        """A fresh network to be trained on `captions`. Raises UserError when they are too few."""

    @abstractmethod
    def tokens(self, captions: Sequence[str]) -> Tensor:
        """Captions as integers [n, L], row by row."""

    def encoded(self, captions: list[str], batch_size: int) -> Iterator[tuple[list[str], Tensor]]:
        device = next(self.parameters()).device
        tokens = self.tokens(captions)
        for start in range(0, len(captions), batch_size):
            batch = slice(start, start + batch_size)
            yield captions[batch], self(tokens[batch].to(device))
