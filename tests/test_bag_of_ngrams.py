"""The bag-of-n-grams encoder: what it reads of a caption, its arithmetic, what it cannot see, and its training."""

import json

import pandas as pd
import pytest
import torch

from textbloom.core.errors import UserError
from textbloom.text import TRAINED_HERE, bag_of_ngrams, encoder_run, picture_space, trained_encoder
from textbloom.text.bag_of_ngrams import BagOfNgrams, NgramCoding, ngrams
from textbloom.text.encoder_training import Schedule

NAME = "bag-of-ngrams"


def learnt(*captions: str) -> NgramCoding:
    """The coding of captions that are each repeated often enough."""
    return NgramCoding.learn(list(captions) * bag_of_ngrams.MINIMUM)


@pytest.fixture
def coding() -> NgramCoding:
    return learnt("red petals and a yellow centre", "yellow petals")


@pytest.fixture
def network(coding) -> BagOfNgrams:
    torch.manual_seed(3)
    network = coding.network().eval()
    torch.nn.init.normal_(network.bias)
    return network


def test_every_name_that_is_trained_here_has_its_coding():
    assert set(trained_encoder.CODINGS) == set(TRAINED_HERE)


def test_a_caption_is_its_different_words_and_neighbouring_pairs_in_lower_case_without_punctuation():
    assert ngrams("Red, red petals!") == ["red", "petals", "red red", "red petals"]
    assert ngrams("rosé") == ["rosé"] and ngrams("...") == []


def test_the_vocabulary_holds_what_enough_captions_hold_and_a_caption_counts_once():
    captions = ["pink petals"] * 8 + ["blue blue blue"] * 7
    assert NgramCoding.learn(captions).vocabulary == ("petals", "pink", "pink petals")
    assert NgramCoding.learn(captions[::-1]) == NgramCoding.learn(captions)


def test_captions_without_a_common_word_are_refused_with_the_mend():
    with pytest.raises(UserError, match=r"8 training captions hold, and there are none: take more pictures"):
        NgramCoding.learn(["red", "blue"])


def test_every_known_word_and_pair_comes_back_from_its_code(coding):
    rows = coding.codes(["a red centre", "yellow petals", "nothing known"])
    read = [[coding.vocabulary[code - 1] for code in row.tolist() if code] for row in rows]
    assert read == [["a", "red", "centre"], ["yellow", "petals", "yellow petals"], []]
    assert coding.codes(["nothing", ""]).shape == (2, 1)


def test_the_encoder_computes_the_sum_over_the_root_of_the_count(coding, network):
    captions = ["yellow petals", "red", "a red centre and yellow petals"]
    vectors = dict(zip(coding.vocabulary, network.vectors.weight[1:], strict=True))
    for caption, found in zip(captions, network(coding.codes(captions)), strict=True):
        own = [vectors[ngram] for ngram in ngrams(caption) if ngram in vectors]
        torch.testing.assert_close(found, torch.stack(own).sum(0) / len(own) ** 0.5 + network.bias)


def test_a_caption_without_a_known_word_gives_the_bias(coding, network):
    torch.testing.assert_close(network(coding.codes(["nothing", ""])), network.bias.expand(2, -1))


def test_which_colour_belongs_to_which_part_is_read_from_the_pairs():
    coding = learnt("red petals yellow centre", "yellow petals red centre")
    ours, theirs = coding.network()(coding.codes(["red petals yellow centre", "yellow petals red centre"]))
    assert not torch.allclose(ours, theirs)


def test_padding_is_never_learnt(coding):
    network = coding.network()
    network(coding.codes(["red", "yellow petals and a yellow centre"])).square().sum().backward()
    torch.optim.Adam(network.parameters(), lr=0.1).step()
    assert not network.vectors.weight[0].any() and network.vectors.weight[1:].any()


def test_a_saved_encoder_comes_back_with_its_vocabulary_and_the_same_vectors(tmp_path, coding, network):
    captions = ["yellow petals", "a red one", "yellow petals"]
    saved = trained_encoder.save(tmp_path, NAME, coding, network, {"epochs": 1})
    loaded = trained_encoder.load(tmp_path)
    assert saved.metadata == loaded.metadata and loaded.metadata["name"] == NAME
    vectors = loaded.encode(captions, batch_size=2)
    assert vectors.shape == (3, 1024) and vectors.dtype == torch.float32
    torch.testing.assert_close(vectors, network(coding.codes(captions)).detach())
    assert json.loads((tmp_path / "config.json").read_text())["vocabulary"] == list(coding.vocabulary)


def test_a_training_tells_classes_apart_by_their_words_and_gives_the_same_bytes_again(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    monkeypatch.setattr(encoder_run.coding, "EMBEDDING_DIM", 16)
    # Held-out classes join words of the training classes: what is learnt of "red" must serve for another red flower.
    names = {"red star": "train", "red disc": "train", "blue star": "train", "pink disc": "train", "pink star": "val"}
    names |= {"blue disc": "test", "red bell": "test"}
    table = pd.DataFrame(
        [
            {"image_id": 10 * c + p, "class_id": c + 1, "split": split, "caption": f"{start} {name}"}
            for c, (name, split) in enumerate(names.items())
            for p in range(4)
            for start in ("a", "one", "this")
        ]
    )
    ids = sorted(table["image_id"].unique())
    captions = [table[table["image_id"] == image_id]["caption"].iloc[0] for image_id in ids]
    words = ("red", "blue", "pink", "star", "disc")
    shown = torch.tensor([[float(word in caption) for word in words] for caption in captions])
    noise = torch.rand(len(ids), 8, generator=torch.Generator().manual_seed(0))
    features = {group: torch.cat([shown, 0.1 * noise], 1) for group in picture_space.WEIGHTS}
    schedule = Schedule(seed=1, epochs=40, batch_size=5, lr=0.1, lr_decay=0.95, precision="fp32")
    one, two = (
        encoder_run.train_and_measure(NAME, table, ids, features, ["train", "val"], schedule, tmp_path / name)
        for name in ("1", "2")
    )
    assert one == two and (one["encoder"], one["zero_shot_top1"], one["n_classes_seen"]) == (NAME, 1.0, 0)
    for file in ("encoder.safetensors", "config.json"):
        assert (tmp_path / "1" / file).read_bytes() == (tmp_path / "2" / file).read_bytes()
