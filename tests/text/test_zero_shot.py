"""Zero-shot measures: closed forms, a brute-force reference, chance."""

import numpy as np
import pytest
import torch

from textbloom.text import zero_shot


def test_class_means_are_the_means_of_each_class_in_ascending_order():
    vectors = torch.tensor([[1.0, 0], [0, 1], [3, 0], [0, 5]])
    distinct, means = zero_shot.class_means(vectors, torch.tensor([9, 4, 9, 4]))
    assert distinct.tolist() == [4, 9]
    assert means.tolist() == [[0.0, 3.0], [2.0, 0.0]]


def test_top1_is_the_mean_over_classes_not_over_pictures():
    # class 0: 3 of 3 right; class 1: 0 of 1
    scores = torch.tensor([[2.0, 1], [2, 1], [2, 1], [2, 1]])
    assert zero_shot.top1(scores, torch.tensor([0, 0, 0, 1])) == 0.5


def test_average_precision_is_the_share_of_own_pictures_among_the_best_of_each_class():
    scores = torch.tensor([[0.9, 0.1], [0.8, 0.7], [0.1, 0.9], [0.2, 0.8]])
    classes = torch.tensor([0, 1, 1, 0])
    assert zero_shot.average_precision(scores, classes, 1) == 1.0
    assert zero_shot.average_precision(scores, classes, 2) == 0.5
    assert zero_shot.average_precision(scores, classes, 4) == 0.5


def test_measures_agree_with_a_reference_written_class_by_class():
    rng = np.random.default_rng(4)
    pictures, texts = rng.normal(size=(90, 6)), rng.normal(size=(40, 6))
    picture_classes, text_classes = np.arange(90) % 4 * 3 + 5, np.arange(40) % 4 * 3 + 5
    picture_classes[80:] = 5  # classes of unequal size
    measured = zero_shot.measure(*map(torch.from_numpy, (pictures, picture_classes, texts, text_classes)))

    names = sorted(set(picture_classes))
    prototypes = {name: texts[text_classes == name].mean(0) for name in names}
    guesses = np.array([max(names, key=lambda name: picture @ prototypes[name]) for picture in pictures])
    rates = [(guesses[picture_classes == name] == name).mean() for name in names]
    assert measured["zero_shot_top1"] == pytest.approx(np.mean(rates))
    for k in (1, 5, 10, 50):
        shares = []
        for name in names:
            best = sorted(range(90), key=lambda row: -(pictures[row] @ prototypes[name]))[:k]
            shares.append(np.mean(picture_classes[best] == name))
        assert measured[f"ap_at_{k}"] == pytest.approx(np.mean(shares))
    assert (measured["n_classes"], measured["n_pictures"], measured["n_captions"]) == (4, 90, 40)
    assert measured["zero_shot_chance"] == 0.25


def test_texts_that_point_at_their_pictures_reach_everything_and_random_ones_chance():
    classes = torch.arange(20).repeat_interleave(60)
    pictures = torch.eye(20)[classes]
    perfect = zero_shot.measure(pictures, classes, torch.eye(20), torch.arange(20))
    assert {perfect[key] for key in ("zero_shot_top1", "ap_at_1", "ap_at_5", "ap_at_10", "ap_at_50")} == {1.0}
    stream = torch.Generator().manual_seed(0)
    noise = [torch.randn(n, 512, generator=stream) for n in (1200, 20)]
    random = zero_shot.measure(noise[0], classes, noise[1], torch.arange(20))
    assert random["zero_shot_top1"] == pytest.approx(0.05, abs=0.03)
    assert random["ap_at_50"] == pytest.approx(0.05, abs=0.03)


def test_a_cutoff_beyond_the_number_of_pictures_is_absent():
    few = zero_shot.measure(torch.eye(2).repeat(4, 1), torch.tensor([0, 1] * 4), torch.eye(2), torch.tensor([0, 1]))
    assert {key for key in few if key.startswith("ap_at_")} == {"ap_at_1", "ap_at_5"}


def test_rescaled_pictures_rank_the_same_and_a_longer_class_vector_wins_more():
    pictures = torch.tensor([[1.0, 0.9], [0.9, 1.0]])
    classes = torch.tensor([0, 1])
    assert zero_shot.measure(pictures, classes, torch.eye(2), classes)["zero_shot_top1"] == 1.0
    assert zero_shot.measure(7 * pictures, classes, torch.eye(2), classes)["zero_shot_top1"] == 1.0
    # the score is an inner product, not a cosine
    longer = torch.tensor([[3.0, 0], [0, 1]])
    assert zero_shot.measure(pictures, classes, longer, classes)["zero_shot_top1"] == 0.5
