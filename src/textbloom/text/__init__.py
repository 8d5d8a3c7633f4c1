"""Captions to vectors: encoders that others have trained, and two that are trained here. `open_encoder` is the door."""

from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from textbloom.text import pretrained, trained_encoder


class TextEncoder(Protocol):
    """A frozen encoder.

    metadata: what names the encoder and its weights, such as name, revision and sha256; it goes beside the vectors.
    """

    @property
    def metadata(self) -> dict[str, Any]: ...

    def encode(self, captions: list[str], batch_size: int) -> Tensor:
        """Embeddings float32 [n, D] on the CPU, row by row as `captions`. Equal captions are encoded once."""
        ...


def open_encoder(
    name: str, revision: str | None, path: str | None, precision: str, source: str, *, trained: Path
) -> TextEncoder:
    """The encoder that the keys of params.yaml's section `encoder` name.

    An encoder of `trained_encoder.KINDS` is read from `trained`, the folder that the text_encoder stage wrote; any
    other one is opened by `pretrained.load`. Raises UserError where it cannot be had.
    """
    if name in trained_encoder.KINDS:
        return trained_encoder.load(trained)
    return pretrained.load(name, revision, path, precision, source)
