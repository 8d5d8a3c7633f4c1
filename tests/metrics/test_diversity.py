"""Diversity is 1 for real variety, 0 for one picture a caption, and knows no unit of the features."""

import torch
from torch import Tensor

from textbloom.metrics import diversity
from textbloom.metrics.base import nearest_captions


def cloud(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_the_spread_of_two_pictures_is_their_distance_and_of_more_the_mean_over_pairs():
    pair = torch.tensor([[[0.0, 0.0], [3.0, 4.0]]])
    assert diversity.spread(pair).tolist() == [5.0]
    three = torch.tensor([[[0.0], [1.0], [5.0]]])
    assert diversity.spread(three).tolist() == [(1 + 5 + 4) / 3]


def test_the_spread_is_zero_for_one_picture_grows_with_the_noise_and_ignores_where_pictures_lie():
    noise = cloud(6, 4, 10)
    assert (diversity.spread(torch.zeros(6, 4, 10) + cloud(6, 1, 10, seed=1)) == 0).all()
    torch.testing.assert_close(diversity.spread(3 * noise), 3 * diversity.spread(noise))
    torch.testing.assert_close(diversity.spread(noise + 7), diversity.spread(noise), rtol=1e-5, atol=1e-5)


def test_the_nearest_captions_begin_with_the_pictures_own_even_where_another_says_the_same():
    angles = torch.tensor([0.0, 0.1, 0.1, 0.3, 2.0, 3.0])
    texts = torch.stack([angles.cos(), angles.sin()], dim=1) * torch.tensor([1.0, 5.0, 1.0, 2.0, 1.0, 1.0])[:, None]
    found = nearest_captions(texts, torch.tensor([2, 0]), 3)
    assert found[:, 0].tolist() == [2, 0]
    assert [set(row) for row in found.tolist()] == [{2, 1, 0}, {0, 1, 2}]


def test_the_squared_spread_is_the_mean_over_pairs_of_squared_distances():
    vectors = cloud(3, 4, 10)
    pairs = [(a, b) for a in range(4) for b in range(4) if a != b]
    expected = torch.stack([(vectors[:, a] - vectors[:, b]).square().sum(-1) for a, b in pairs]).mean(0)
    torch.testing.assert_close(diversity.squared_spread(vectors), expected.double())
