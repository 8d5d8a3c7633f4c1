"""The bag-of-n-grams encoder: what it reads of a caption, its arithmetic and what it cannot see."""

import pytest
import torch

from textbloom.core.errors import UserError
from textbloom.text import bag_of_ngrams
from textbloom.text.bag_of_ngrams import BagOfNgrams, NgramTokenizer, ngrams


def fitted(*captions: str) -> NgramTokenizer:
    """The tokenizer of captions that are each repeated often enough."""
    return NgramTokenizer.fit(list(captions) * bag_of_ngrams.MINIMUM)


@pytest.fixture
def tokenizer() -> NgramTokenizer:
    return fitted("red petals and a yellow centre", "yellow petals")


@pytest.fixture
def network(tokenizer) -> BagOfNgrams:
    torch.manual_seed(3)
    network = tokenizer.network().eval()
    torch.nn.init.normal_(network.bias)
    return network


def test_a_caption_is_its_different_words_and_neighbouring_pairs_in_lower_case_without_punctuation():
    assert ngrams("Red, red petals!") == ["red", "petals", "red red", "red petals"]
    assert ngrams("rosé") == ["rosé"] and ngrams("...") == []


def test_the_vocabulary_holds_what_enough_captions_hold_and_a_caption_counts_once():
    captions = ["pink petals"] * 8 + ["blue blue blue"] * 7
    assert NgramTokenizer.fit(captions).vocabulary == ("petals", "pink", "pink petals")
    assert NgramTokenizer.fit(captions[::-1]) == NgramTokenizer.fit(captions)


def test_captions_without_a_common_word_are_refused_with_the_mend():
    with pytest.raises(UserError, match=r"8 training captions hold, and there are none: take more pictures"):
        NgramTokenizer.fit(["red", "blue"])


def test_every_known_word_and_pair_comes_back_from_its_token(tokenizer):
    rows = tokenizer(["a red centre", "yellow petals", "nothing known"])
    read = [[tokenizer.vocabulary[token - 1] for token in row.tolist() if token] for row in rows]
    assert read == [["a", "red", "centre"], ["yellow", "petals", "yellow petals"], []]
    assert tokenizer(["nothing", ""]).shape == (2, 1)


def test_the_encoder_computes_the_sum_over_the_root_of_the_count(tokenizer, network):
    captions = ["yellow petals", "red", "a red centre and yellow petals"]
    vectors = dict(zip(tokenizer.vocabulary, network.vectors.weight[1:], strict=True))
    for caption, found in zip(captions, network(tokenizer(captions)), strict=True):
        own = [vectors[ngram] for ngram in ngrams(caption) if ngram in vectors]
        torch.testing.assert_close(found, torch.stack(own).sum(0) / len(own) ** 0.5 + network.bias)


def test_a_caption_without_a_known_word_gives_the_bias(tokenizer, network):
    torch.testing.assert_close(network(tokenizer(["nothing", ""])), network.bias.expand(2, -1))


def test_which_colour_belongs_to_which_part_is_read_from_the_pairs():
    tokenizer = fitted("red petals yellow centre", "yellow petals red centre")
    ours, theirs = tokenizer.network()(tokenizer(["red petals yellow centre", "yellow petals red centre"]))
    assert not torch.allclose(ours, theirs)


def test_padding_is_never_learnt(tokenizer):
    network = tokenizer.network()
    network(tokenizer(["red", "yellow petals and a yellow centre"])).square().sum().backward()
    torch.optim.Adam(network.parameters(), lr=0.1).step()
    assert not network.vectors.weight[0].any() and network.vectors.weight[1:].any()
