"""The perceptual distance is LPIPS' formula, and sees where things are."""

import torch
from torch.nn.functional import avg_pool2d, normalize

from textbloom.features import efficientnet
from textbloom.metrics.diversity import perceptual_vectors


def pictures(count: int) -> torch.Tensor:
    blobs = torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    return (torch.nn.functional.interpolate(blobs, 64, mode="bilinear") * 255).to(torch.uint8)


def distance(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((perceptual_vectors(a) - perceptual_vectors(b)).square().sum())


def test_distances_are_those_of_the_formula_whatever_pictures_are_in_a_batch():
    one, other = pictures(18)[[0, 17]]
    network = efficientnet.scales("efficientnet-lite2")[0]
    expected = 0.0
    with torch.inference_mode():
        for a, b in zip(*(network(efficientnet.prepare(x[None], 128)) for x in (one, other)), strict=True):
            expected += float((normalize(a) - normalize(b)).square().sum(1).mean())
    vectors = perceptual_vectors(pictures(18))
    torch.testing.assert_close(float((vectors[0] - vectors[17]).square().sum()), expected, rtol=1e-4, atol=0)


def test_equal_pictures_have_none_blurred_ones_little_others_much():
    picture, other = pictures(2).split(1)
    slightly = avg_pool2d(picture.float(), 3, 1, 1, count_include_pad=False).to(torch.uint8)
    assert distance(picture, picture) == 0
    assert 0 < distance(picture, slightly) < distance(picture, picture.flip(-1)) / 2
    assert distance(picture, other) > distance(picture, slightly)
