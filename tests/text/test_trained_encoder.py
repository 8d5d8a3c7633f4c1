"""The folder of an encoder that is trained here: what is saved comes back, what is not its own is refused."""

import json
from pathlib import Path

import pytest
import torch

from textbloom import config
from textbloom.core.errors import UserError
from textbloom.text import bag_of_ngrams, open_encoder, trained_encoder
from textbloom.text.base import TrainedNetwork
from textbloom.text.trained_encoder import KINDS

CAPTIONS = ["a red flower", "a blue flower", "a red flower"]


def test_every_encoder_that_the_parameters_call_trained_here_has_its_kind():
    assert set(KINDS) == set(config.TRAINED_ENCODERS)


def save(folder: Path, name: str) -> TrainedNetwork:
    torch.manual_seed(1)
    network = KINDS[name].fit(CAPTIONS * bag_of_ngrams.MINIMUM)
    pretrained = [{"name": "a network", "sha256": "0" * 64}]
    return trained_encoder.save(folder, name, network, {"epochs": 1}, pretrained)


@pytest.mark.parametrize("name", KINDS)
def test_a_saved_encoder_opens_with_the_same_vectors_and_saves_the_same_bytes(tmp_path, name):
    saved = save(tmp_path / "one", name)
    opened = open_encoder(name, trained=tmp_path / "one", source="hub")
    assert saved.metadata == opened.metadata
    assert (opened.metadata["name"], len(opened.metadata["sha256"])) == (name, 64)
    assert opened.metadata["pretrained"] == [{"name": "a network", "sha256": "0" * 64}]
    vectors = opened.encode(CAPTIONS, batch_size=2)
    assert vectors.shape == (3, 1024) and vectors.dtype == torch.float32
    with torch.inference_mode():
        torch.testing.assert_close(vectors, saved.cpu()(saved.tokens(CAPTIONS)))
    save(tmp_path / "two", name)
    for file in ("encoder.safetensors", "config.json"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_a_folder_without_a_trained_encoder_names_the_mend(tmp_path):
    with pytest.raises(UserError, match=r"config\.json is missing: run `make repro`"):
        trained_encoder.load(tmp_path)
    (tmp_path / "config.json").write_text('{"trained": false}')
    with pytest.raises(UserError, match=r"no trained encoder: set encoder\.name to char-cnn-rnn or bag-of-ngrams and"):
        trained_encoder.load(tmp_path)
    save(tmp_path, "bag-of-ngrams")
    sound = json.loads((tmp_path / "config.json").read_text())
    for changed in ({"name": "word2vec"}, {"arguments": {"vocabulary": ["red"]}}, {"arguments": []}, {"pretrained": 1}):
        (tmp_path / "config.json").write_text(json.dumps(sound | changed))
        with pytest.raises(
            UserError, match=r"config\.json is damaged, another version's or not of encoder\.safetensors"
        ):
            trained_encoder.load(tmp_path)
