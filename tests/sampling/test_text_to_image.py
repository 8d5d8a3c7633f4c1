"""A trained folder opened: pictures of embeddings and of sentences, and one line for what does not fit together."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from support import prepared_project
from torch import Tensor

from textbloom import models
from textbloom.core.errors import UserError
from textbloom.sampling.generator import load_generator
from textbloom.sampling.text_to_image import TextToImage
from textbloom.text import TextEncoder

BASE = Path("models/base")


class Lengths(TextEncoder):
    """An encoder whose vectors tell the length of the sentence."""

    def __init__(self, metadata: dict[str, Any] = prepared_project.ENCODER) -> None:
        self.metadata = metadata

    def encoded(self, captions: list[str], batch_size: int) -> Iterator[tuple[list[str], Tensor]]:
        yield captions, torch.tensor([[float(len(caption))] * 12 for caption in captions]) / 10


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepared_project.write_generator(tmp_path)
    monkeypatch.chdir(tmp_path)


def test_sentences_give_the_pictures_of_their_embeddings_sentence_by_sentence():
    found = TextToImage(BASE, Lengths()).pictures(["a rose", "a pink flower"], seed=3, count=2)
    text = Lengths().encode(["a rose", "a rose", "a pink flower", "a pink flower"], 4)
    generator = load_generator(BASE, "ema")
    assert torch.equal(found, generator.sample(text, generator.noise(len(text), seed=3)))


def test_an_empty_sentence_is_refused():
    with pytest.raises(UserError, match="an empty sentence"):
        TextToImage(BASE, Lengths()).pictures(["a rose", "  "], seed=3)


def test_an_encoder_other_than_that_of_training_is_refused():
    other = Lengths({"name": "any", "sha256": "1" * 64})
    with pytest.raises(UserError, match=r"encoder: the generator was trained with any of other weights"):
        TextToImage(BASE, other)


def test_weights_that_do_not_fit_are_refused():
    network = prepared_project.NETWORK | {"features": 3}
    save_file(models.build(**network)[0].state_dict(), BASE / "generator-ema.safetensors")
    with pytest.raises(UserError, match=r"does not fit models/base/config\.json"):
        load_generator(BASE, "ema")


@pytest.mark.parametrize("name", ["generator-ema.safetensors", "config.json"])
def test_a_missing_file_never_gives_pictures_from_random_weights(name):
    (BASE / name).unlink()
    with pytest.raises(UserError, match=rf"models/base/{name} is missing"):
        load_generator(BASE, "ema")
