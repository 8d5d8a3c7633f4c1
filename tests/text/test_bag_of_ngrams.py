"""The bag-of-n-grams encoder: what it reads of a caption, its arithmetic and what it cannot see."""

import pytest
import torch

from textbloom.core.errors import UserError
from textbloom.text import bag_of_ngrams
from textbloom.text.bag_of_ngrams import BagOfNgrams, ngrams


def fitted(*captions: str) -> BagOfNgrams:
    """The network for captions that are each repeated often enough."""
    torch.manual_seed(3)
    return BagOfNgrams.fit(list(captions) * bag_of_ngrams.MINIMUM)


@pytest.fixture
def network() -> BagOfNgrams:
    network = fitted("red petals and a yellow centre", "yellow petals")
    torch.nn.init.normal_(network.bias)
    return network


def test_a_caption_is_its_different_words_and_neighbouring_pairs_in_lower_case_without_punctuation():
    assert ngrams("Red, red petals!") == ["red", "petals", "red red", "red petals"]
    assert ngrams("rosé") == ["rosé"] and ngrams("...") == []


def test_the_vocabulary_holds_what_enough_captions_hold_and_a_caption_counts_once():
    captions = ["pink petals"] * 8 + ["blue blue blue"] * 7
    for order in (captions, captions[::-1]):
        assert BagOfNgrams.fit(order).arguments == {"vocabulary": ["petals", "pink", "pink petals"]}


def test_captions_without_a_common_word_are_refused_with_the_mend():
    with pytest.raises(UserError, match=r"8 training captions hold, and there are none: take more pictures"):
        BagOfNgrams.fit(["red", "blue"])


def test_every_known_word_and_pair_comes_back_from_its_token(network):
    rows = network.tokens(["a red centre", "yellow petals", "nothing known"])
    read = [[network.arguments["vocabulary"][token - 1] for token in row.tolist() if token] for row in rows]
    assert read == [["a", "red", "centre"], ["yellow", "petals", "yellow petals"], []]
    assert network.tokens(["nothing", ""]).shape == (2, 1)


def test_the_encoder_computes_the_sum_over_the_root_of_the_count(network):
    captions = ["yellow petals", "red", "a red centre and yellow petals"]
    vectors = dict(zip(network.arguments["vocabulary"], network.vectors.weight[1:], strict=True))
    for caption, found in zip(captions, network(network.tokens(captions)), strict=True):
        own = [vectors[ngram] for ngram in ngrams(caption) if ngram in vectors]
        torch.testing.assert_close(found, torch.stack(own).sum(0) / len(own) ** 0.5 + network.bias)


def test_a_caption_without_a_known_word_gives_the_bias(network):
    torch.testing.assert_close(network(network.tokens(["nothing", ""])), network.bias.expand(2, -1))


def test_which_colour_belongs_to_which_part_is_read_from_the_pairs():
    network = fitted("red petals yellow centre", "yellow petals red centre")
    ours, theirs = network(network.tokens(["red petals yellow centre", "yellow petals red centre"]))
    assert not torch.allclose(ours, theirs)


def test_padding_is_never_learnt(network):
    network(network.tokens(["red", "yellow petals and a yellow centre"])).square().sum().backward()
    torch.optim.Adam(network.parameters(), lr=0.1).step()
    assert not network.vectors.weight[0].any() and network.vectors.weight[1:].any()
