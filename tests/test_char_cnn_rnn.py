"""The char-CNN-RNN encoder: its coding, its size, its arithmetic against the layers written out."""

import json

import pytest
import torch
from torch.nn import functional

from textbloom.core.errors import UserError
from textbloom.text import trained_encoder
from textbloom.text.char_cnn_rnn import ALPHABET, LENGTH, CharacterCoding, CharCnnRnn, codes, one_hot

NAME = "char-cnn-rnn"


@pytest.fixture(scope="module")
def network() -> CharCnnRnn:
    torch.manual_seed(3)
    return CharCnnRnn().eval()


def decoded(row):
    return "".join(ALPHABET[code] if code < 70 else "¤" for code in row.tolist())


def test_the_alphabet_is_the_published_one():
    assert len(ALPHABET) == 70 and ALPHABET.count("-") == 2 and len(set(ALPHABET)) == 69
    assert ALPHABET[:36] == "abcdefghijklmnopqrstuvwxyz0123456789" and ALPHABET[-1] == " "


def test_every_character_of_the_alphabet_comes_back_from_its_code():
    (row,) = codes([ALPHABET])
    assert decoded(row) == ALPHABET + "¤" * (LENGTH - 70)
    assert row[36] == row[59] == 59  # both hyphens


def test_captions_are_lower_cased_cut_and_padded_and_foreign_letters_have_no_channel():
    rows = codes(["A Rosé", "x" * 500, ""])
    assert decoded(rows[0]).rstrip("¤") == "a ros" and rows.shape == (3, 200)
    assert decoded(rows[1]) == "x" * 200 and decoded(rows[2]) == "¤" * 200
    assert decoded(codes(["é b"])[0]).startswith("¤ b")


def test_one_hot_marks_one_channel_a_known_character_and_none_elsewhere():
    coded = codes(["a é-"])
    hot = one_hot(coded)
    assert hot.shape == (1, 70, 200) and hot.dtype == torch.float32
    assert {(int(c), int(t)) for _, c, t in hot.nonzero()} == {(0, 0), (69, 1), (59, 3)}


def test_the_encoder_has_exactly_the_published_number_of_trainable_parameters(network):
    assert sum(weights.numel() for weights in network.parameters() if weights.requires_grad) == 2_994_560


@pytest.mark.parametrize("length", [200, 201])
def test_both_published_lengths_leave_eight_steps_of_512(network, length):
    assert network.convolutions(one_hot(codes(["a"], length))).shape == (1, 512, 8)


def test_the_encoder_computes_the_published_layers(network):
    coded = codes(["this flower has purple petals", "a white flower, with (many) yellow stamens!"])
    weights = dict(network.named_parameters())
    hidden = one_hot(coded)
    for layer, stride in ((0, 3), (3, 3), (6, 2)):
        hidden = functional.conv1d(
            hidden, weights[f"convolutions.{layer}.weight"], weights[f"convolutions.{layer}.bias"]
        )
        hidden = functional.max_pool1d(torch.where(hidden > 1e-6, hidden, 0.0), 3, stride)
    total = state = None
    for step in range(8):
        drive = hidden[:, :, step] @ weights["input_to_hidden.weight"].T + weights["input_to_hidden.bias"]
        if state is not None:
            drive = drive + state @ weights["hidden_to_hidden.weight"].T + weights["hidden_to_hidden.bias"]
        state = drive.clamp(min=0)
        total = state if total is None else total + state
    expected = total / 8 @ weights["output.weight"].T + weights["output.bias"]
    assert expected.shape == (2, 1024)
    torch.testing.assert_close(network(coded), expected)


def test_a_word_at_the_end_matters_and_what_lies_beyond_the_length_does_not(network):
    filler = "petals " * 26  # 182 characters
    red, blue = network(codes([filler + "red", filler + "blue"]))
    assert not torch.allclose(red, blue)
    long = "petals " * 29  # 203 characters
    ours, theirs = network(codes([long + "red", long + "blue"]))
    assert torch.equal(ours, theirs)


def test_a_saved_encoder_comes_back_with_its_hash_and_the_same_vectors(tmp_path, network):
    captions = ["a red flower", "a blue flower", "a red flower"]
    saved = trained_encoder.save(tmp_path, NAME, CharacterCoding(), network, {"epochs": 1})
    loaded = trained_encoder.load(tmp_path)
    assert saved.metadata == loaded.metadata
    assert loaded.metadata["name"] == "char-cnn-rnn" and len(loaded.metadata["sha256"]) == 64
    vectors = loaded.encode(captions, batch_size=2)
    assert vectors.shape == (3, 1024) and vectors.dtype == torch.float32
    torch.testing.assert_close(vectors, network(codes(captions)).detach())
    again = tmp_path / "again"
    trained_encoder.save(again, NAME, CharacterCoding(), network, {"epochs": 1})
    for name in ("encoder.safetensors", "config.json"):
        assert (again / name).read_bytes() == (tmp_path / name).read_bytes()


def test_a_folder_without_a_trained_encoder_says_what_to_do(tmp_path):
    with pytest.raises(UserError, match=r"config\.json is missing or damaged: run `make repro`"):
        trained_encoder.load(tmp_path)
    (tmp_path / "config.json").write_text('{"trained": false}')
    with pytest.raises(UserError, match=r"no trained encoder: set encoder\.name to char-cnn-rnn or bag-of-ngrams and"):
        trained_encoder.load(tmp_path)


def test_an_encoder_of_another_alphabet_or_kind_is_refused(tmp_path, network):
    trained_encoder.save(tmp_path, NAME, CharacterCoding(), network, {})
    config = json.loads((tmp_path / "config.json").read_text())
    for change in ({"alphabet": "abc"}, {"name": "word2vec"}):
        (tmp_path / "config.json").write_text(json.dumps(config | change))
        with pytest.raises(UserError, match="name and coding are not this version's"):
            trained_encoder.load(tmp_path)
