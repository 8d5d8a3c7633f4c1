"""Captions to vectors: encoders that others have trained, and two that are trained here. `open_encoder` is the door."""

from pathlib import Path
from typing import Any

from textbloom.text import pretrained, trained_encoder
from textbloom.text.base import TextEncoder


def open_encoder(name: str, *, trained: Path, **settings: Any) -> TextEncoder:
    """The encoder of that name in params.yaml.

    An encoder of `trained_encoder.KINDS` is read from `trained`, the folder that the text_encoder stage wrote; any
    other one is opened by `pretrained.load`, whose keywords the settings are. Raises UserError where it cannot be had.
    """
    if name in trained_encoder.KINDS:
        return trained_encoder.load(trained)
    return pretrained.load(name, **settings)
