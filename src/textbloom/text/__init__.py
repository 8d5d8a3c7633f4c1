"""Captions to vectors: encoders that others have trained, and two that are trained here. `open_encoder` is the door."""

from pathlib import Path

from textbloom.text import pretrained, trained_encoder
from textbloom.text.base import TextEncoder


def open_encoder(
    name: str,
    revision: str | None,
    path: str | None,
    precision: str,
    source: str,
    bilinear_layers: int | None,
    *,
    trained: Path,
) -> TextEncoder:
    """The encoder that the keys of params.yaml's section `encoder` name.

    An encoder of `trained_encoder.KINDS` is read from `trained`, the folder that the text_encoder stage wrote; any
    other one is opened by `pretrained.load`. Raises UserError where it cannot be had.
    """
    if name in trained_encoder.KINDS:
        return trained_encoder.load(trained)
    return pretrained.load(name, revision, path, precision, source, bilinear_layers)
