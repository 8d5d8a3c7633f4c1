"""System C is built to its specification: conditioning augmentation, a sketch, and its refinement."""

from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.distributions import Normal, kl_divergence

from textbloom import models
from textbloom.models.base import Generator
from textbloom.models.stackgan import Conditioning

SMALL = {"embedding_dim": 12, "noise_dim": 5, "features": 4, "text_projection": 6, "discriminator_text": True}


def first(**changes) -> tuple:
    return models.build("stackgan", **{"size": 64, **SMALL, **changes})


def second(size: int = 128, **changes) -> tuple:
    sketcher, _ = first(**changes)
    return models.refine(sketcher, "stackgan", **{"size": size, **SMALL, **changes})


def pictures(generator: Generator, count: int = 3) -> torch.Tensor:
    return generator(torch.randn(count, generator.noise_dim), torch.randn(count, 12))


def shapes(network: nn.Module) -> list[tuple[int, int, int, int]]:
    return [
        (layer.in_channels, layer.out_channels, layer.kernel_size[0], layer.stride[0])
        for layer in network.modules()
        if isinstance(layer, nn.Conv2d)
    ]


def test_the_sketch_has_the_widths_of_the_paper():
    generator, discriminator = first(embedding_dim=1024, noise_dim=100, features=96, text_projection=128)
    assert generator.noise_dim == 228
    assert generator.start[0].weight.shape == (1536 * 16, 228)
    assert shapes(generator) == [
        (1536, 768, 3, 1), (768, 384, 3, 1), (384, 192, 3, 1), (192, 96, 3, 1), (96, 3, 3, 1),
    ]  # fmt: skip
    assert shapes(discriminator) == [
        (3, 96, 4, 2), (96, 192, 4, 2), (192, 384, 4, 2), (384, 768, 4, 2), (768 + 128, 768, 3, 1), (768, 1, 4, 1),
    ]  # fmt: skip


@pytest.mark.parametrize(("size", "ups"), [(128, [64, 32, 16, 8]), (256, [64, 32, 16, 8, 4])])
def test_refinement_samples_down_joins_the_text_keeps_four_residual_blocks_and_samples_up(size, ups):
    generator, discriminator = second(size, features=8)
    found = shapes(generator.sketch) + shapes(generator.join) + shapes(generator.residual) + shapes(generator.picture)
    down = [(3, 16, 3, 1), (16, 32, 4, 2), (32, 64, 4, 2), (64 + 6, 64, 3, 1)]
    up = [(a, b, 3, 1) for a, b in pairwise(ups)] + [(ups[-1], 3, 3, 1)]
    assert found == down + [(64, 64, 3, 1)] * 8 + up
    (judged,) = discriminator.features(pictures(generator))
    assert judged.shape == (3, 64, 4, 4)
    assert discriminator.score([judged], discriminator.project(torch.randn(3, 12))).shape == (3,)


@pytest.mark.parametrize(("build", "size"), [(first, 64), (second, 128), (lambda: second(256), 256)])
def test_pictures_have_their_size_and_range(build, size):
    generator, _ = build()
    made = pictures(generator)
    assert made.shape == (3, 3, size, size)
    assert made.abs().max() <= 1


def test_conditions_have_the_mean_and_spread_that_the_text_gives_them():
    condition, text = Conditioning(12, 6), torch.randn(1, 12)
    mean, log_variance = condition.mean_and_log_variance(text).chunk(2, dim=1)
    drawn = condition(text.expand(20000, -1), torch.randn(20000, 6))
    assert torch.allclose(drawn.mean(0), mean[0], atol=0.05)
    assert torch.allclose(drawn.var(0), log_variance.exp()[0], rtol=0.05)
    assert torch.equal(condition(text, torch.zeros(1, 6)), mean)


def test_the_divergence_is_that_of_the_two_normals():
    condition, text = Conditioning(12, 6), torch.randn(7, 12)
    mean, log_variance = condition.mean_and_log_variance(text).chunk(2, dim=1)
    expected = kl_divergence(Normal(mean, (0.5 * log_variance).exp()), Normal(0.0, 1.0)).mean()
    assert torch.allclose(condition.divergence(text), expected, atol=1e-6)


def test_only_the_last_noise_belongs_to_the_refinement():
    generator, _ = second()
    generator.eval()
    noise, text = torch.randn(2, generator.noise_dim), torch.randn(2, 12)
    other = noise.clone()
    other[:, -6:] += 1.0
    seen = []
    generator.first.register_forward_hook(lambda layer, given, made: seen.append(made))
    assert not torch.equal(generator(noise, text), generator(other, text))
    assert torch.equal(seen[0], seen[1])
