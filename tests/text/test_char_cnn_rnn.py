"""The char-CNN-RNN encoder: its tokens, its size, its arithmetic against the layers written out."""

import pytest
import torch
from torch.nn import functional

from textbloom.text.char_cnn_rnn import ALPHABET, LENGTH, CharCnnRnn, one_hot, tokenize


@pytest.fixture(scope="module")
def network() -> CharCnnRnn:
    torch.manual_seed(3)
    return CharCnnRnn().eval()


def decoded(row):
    return "".join(ALPHABET[token] if token < 70 else "¤" for token in row.tolist())


def test_the_alphabet_is_the_published_one():
    assert len(ALPHABET) == 70 and ALPHABET.count("-") == 2 and len(set(ALPHABET)) == 69
    assert ALPHABET[:36] == "abcdefghijklmnopqrstuvwxyz0123456789" and ALPHABET[-1] == " "


def test_every_character_of_the_alphabet_comes_back_from_its_token():
    (row,) = tokenize([ALPHABET])
    assert decoded(row) == ALPHABET + "¤" * (LENGTH - 70)
    assert row[36] == row[59] == 59  # both hyphens


def test_captions_are_lower_cased_cut_and_padded_and_foreign_letters_have_no_channel():
    rows = tokenize(["A Rosé", "x" * 500, ""])
    assert decoded(rows[0]).rstrip("¤") == "a ros" and rows.shape == (3, 200)
    assert decoded(rows[1]) == "x" * 200 and decoded(rows[2]) == "¤" * 200
    assert decoded(tokenize(["é b"])[0]).startswith("¤ b")


def test_one_hot_marks_one_channel_a_known_character_and_none_elsewhere():
    tokens = tokenize(["a é-"])
    hot = one_hot(tokens)
    assert hot.shape == (1, 70, 200) and hot.dtype == torch.float32
    assert {(int(c), int(t)) for _, c, t in hot.nonzero()} == {(0, 0), (69, 1), (59, 3)}


def test_the_encoder_has_exactly_the_published_number_of_trainable_parameters(network):
    assert sum(weights.numel() for weights in network.parameters() if weights.requires_grad) == 2_994_560


@pytest.mark.parametrize("length", [200, 201])
def test_both_published_lengths_leave_eight_steps_of_512(network, length):
    assert network.convolutions(one_hot(tokenize(["a"], length))).shape == (1, 512, 8)


def test_the_encoder_computes_the_published_layers(network):
    tokens = tokenize(["this flower has purple petals", "a white flower, with (many) yellow stamens!"])
    weights = dict(network.named_parameters())
    hidden = one_hot(tokens)
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
    torch.testing.assert_close(network(tokens), expected)


def test_a_word_at_the_end_matters_and_what_lies_beyond_the_length_does_not(network):
    filler = "petals " * 26  # 182 characters
    red, blue = network(tokenize([filler + "red", filler + "blue"]))
    assert not torch.allclose(red, blue)
    long = "petals " * 29  # 203 characters
    ours, theirs = network(tokenize([long + "red", long + "blue"]))
    assert torch.equal(ours, theirs)
