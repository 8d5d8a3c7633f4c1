"""The encoder that params.yaml names, whoever trained it."""

from pathlib import Path

from textbloom.text import TRAINED_HERE, trained_encoder
from textbloom.text.encoder import Encoder, load_encoder


def open_encoder(
    name: str, revision: str | None, path: str | None, precision: str, trained: Path
) -> Encoder | trained_encoder.TrainedEncoder:
    """A pretrained encoder as `load_encoder` does, or the one in `trained` that the text_encoder stage made."""
    if name in TRAINED_HERE:
        return trained_encoder.load(trained)
    return load_encoder(name, revision, path, precision)
