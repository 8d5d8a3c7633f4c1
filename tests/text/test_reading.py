"""What an encoder leaves out of captions is told, and two captions that only this tells apart are refused."""

import pytest
import torch

from textbloom.core.errors import UserError
from textbloom.text import pretrained
from textbloom.text.bag_of_ngrams import BagOfNgrams
from textbloom.text.base import TextEncoder
from textbloom.text.char_cnn_rnn import CharCnnRnn, tokenize

LONG = "the flower has many petals and " * 60


@pytest.fixture(scope="module")
def minilm() -> TextEncoder:
    return pretrained.load("all-MiniLM-L6-v2")


@pytest.fixture(scope="module")
def letters() -> TextEncoder:
    torch.manual_seed(3)
    return CharCnnRnn().eval()


@pytest.fixture(scope="module")
def words() -> TextEncoder:
    return BagOfNgrams(["a", "flower", "a flower"]).eval()


def refused(encoder: TextEncoder, captions: list[str], message: str) -> None:
    """The encoder refuses them, and with reason: two have one vector, to rounding."""
    with pytest.raises(UserError, match=message) as caught:
        encoder.check(captions)
    assert "\n" not in str(caught.value)
    if len(captions) > 1:
        first, second = encoder.encode(captions, 1)[-2:]
        assert (first - second).abs().max() <= 1e-6


@pytest.mark.parametrize(("name", "limit"), [("minilm", "256 tokens"), ("letters", "192 characters")])
def test_a_caption_beyond_the_limit_is_told_and_two_of_one_beginning_are_refused(request, capsys, name, limit):
    encoder = request.getfixturevalue(name)
    encoder.check(["a rose", LONG + "red", "a rose", LONG.replace("petals", "leaves")])
    said = capsys.readouterr().err
    assert f"captions: 2 of 3 are cut after the {limit} that the encoder reads; the first loses '" in said
    message = (
        "caption 3, 'the .*…' would get the vector of caption 2, 'the .*…', for the encoder skips 'blue' of it and "
    )
    refused(encoder, ["a rose", LONG + "red", LONG + "blue"], f"{message}'red' of the other: shorten them, or choose")


def test_a_caption_that_ends_where_another_one_is_cut_is_refused(letters):
    whole = LONG[:192]
    refused(letters, [whole, f"{whole}and more"], "skips 'and more' of it and nothing of the other: shorten them")


def test_the_letters_that_count_are_those_that_move_the_vector(letters):
    rows = tokenize(["a" * 200]).repeat(3, 1)
    rows[1, 191] = rows[2, 192] = 30
    with torch.inference_mode():
        whole, within, beyond = letters(rows)
    assert not torch.equal(whole, within) and torch.equal(whole, beyond)


@pytest.mark.parametrize(
    ("captions", "unknown"),
    [
        (["粉色的花", "黄色的花"], "色 粉 黄"),  # it knows 的 and 花
        (["a pink rose 🌸", "a pink rose 🌺"], "🌸 🌺"),
        (["rose สีแดง", "rose สีขาว"], "สีแดง สีขาว"),
    ],
    ids=["Chinese", "emoji", "Thai"],
)
def test_what_the_vocabulary_lacks_is_counted_and_named_and_must_not_be_the_difference(
    minilm, capsys, captions, unknown
):
    minilm.check(["a red rose", captions[0]])
    assert "captions: 1 of 2 hold what the encoder does not know: " in capsys.readouterr().err
    refused(minilm, captions, "caption 2, .*of the other: write them in words that it knows, or choose another encoder")
    assert capsys.readouterr().err.startswith(f"captions: 2 of 2 hold what the encoder does not know: {unknown}\n")


def test_of_many_unknown_pieces_the_most_frequent_are_named(minilm, capsys):
    faces = [chr(0x1F600 + number) for number in range(30)]
    minilm.check([*(f"rose {face}" + " a" * number for number, face in enumerate(faces)), f"red {faces[25]}"])
    said = capsys.readouterr().err
    assert f"captions: 31 of 31 hold what the encoder does not know: {faces[25]} {faces[0]} " in said
    assert said.endswith(f"{faces[18]} and 10 more\n")


@pytest.mark.parametrize(
    ("name", "caption"), [("minilm", "🌸"), ("minilm", "ดอกไม้"), ("letters", "粉色 的花"), ("words", "une fleur")]
)
def test_a_sentence_of_which_nothing_is_known_is_refused(request, name, caption):
    encoder = request.getfixturevalue(name)
    message = f"caption 2, '{caption}' has nothing that the encoder knows: write it in words of its language, or choose"
    with pytest.raises(UserError, match=message):
        encoder.check(["a flower", caption], refuse_unknown=True)


def test_among_the_captions_of_a_data_set_one_of_which_nothing_is_known_may_stand_and_two_may_not(words, capsys):
    words.check(["a flower", "v"])
    assert "captions: 1 of 2 hold what the encoder does not know: v" in capsys.readouterr().err
    refused(words, ["a flower", "v", "w"], "caption 3, 'w' would get the vector of caption 2, 'v'")


@pytest.mark.parametrize("name", ["minilm", "letters", "words"])
def test_captions_that_differ_by_capitals_alone_may_have_one_vector(request, capsys, name):
    encoder = request.getfixturevalue(name)
    encoder.check(["a pink flower", "A pink Flower"])
    assert capsys.readouterr().err == ""


def test_a_letter_whose_accent_is_not_read_is_told_and_must_not_be_the_difference(minilm, capsys):
    minilm.check(["hoa trắng", "a red flower"])
    assert "captions: 1 of 2 hold what the encoder does not know: ắ\n" in capsys.readouterr().err
    message = "caption 2, 'an ete rose' would get the vector of caption 1, 'an été rose', for the encoder skips nothing"
    refused(minilm, ["an été rose", "an ete rose"], f"{message} of it and 'é é' of the other: write them in words")


def test_rare_words_are_left_out_of_a_bag_by_design(words, capsys):
    words.check(["a red flower", "a mauve flower"])
    assert capsys.readouterr().err == ""


def test_a_judge_tells_and_refuses_nothing(minilm, capsys):
    minilm.check(["🌸", "🌺"], refuse=False)
    assert "2 of 2 hold what the encoder does not know" in capsys.readouterr().err
