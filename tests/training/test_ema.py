"""The average of a network's weights, whose length is told in pictures, and its batch statistics."""

import copy

import pytest
import torch
from support.tiny_training import Toy, networks
from torch import nn

from textbloom.models.base import Frozen
from textbloom.training.ema import RAMP, Ema, recompute_batch_norm


@pytest.mark.parametrize("pictures", [1, 5, 64, 320])
def test_what_was_there_halves_with_each_half_life_whatever_the_batch_size(pictures):
    source = nn.Linear(3, 2)
    ema = Ema(source, half_life=320.0)
    start = copy.deepcopy(ema.network.state_dict())
    with torch.no_grad():
        for weight in source.parameters():
            weight.zero_()
    seen = int(320 / RAMP)  # from here on the start of training no longer shortens the half-life
    for power in (1, 2):
        for _ in range(320 // pictures):
            ema.update(seen, pictures)
            seen += pictures
        for name, value in ema.network.state_dict().items():
            torch.testing.assert_close(value, start[name] * 0.5**power, rtol=1e-4, atol=0)


def test_the_first_step_takes_the_sources_weights_whole_and_moves_nothing_of_the_source():
    source = nn.Linear(3, 2)
    ema = Ema(source, half_life=1e9)
    with torch.no_grad():
        source.weight += 1.0
    expected = copy.deepcopy(source.state_dict())
    ema.update(seen=0, pictures=4)
    for network in (source, ema.network):
        assert all(torch.equal(value, expected[name]) for name, value in network.state_dict().items())
    assert not any(weight.requires_grad for weight in ema.network.parameters()) and not ema.network.training


def test_batch_statistics_are_the_means_over_the_given_batches_alone():
    generator = networks("textbloom", size=16).generator
    norm = generator.blocks[0].norms[0].norm
    norm.running_mean.fill_(1e6)  # what was there leaves no trace
    seen = []
    norm.register_forward_hook(lambda part, given, out: seen.append(given[0].double()))
    recompute_batch_norm(generator, [(torch.randn(8, generator.noise_dim), torch.randn(8, 12)) for _ in range(5)])
    maps = torch.stack(seen)  # [5, B, C, h, w]
    variances = maps.transpose(1, 2).flatten(2).var(2).mean(0)
    torch.testing.assert_close(norm.running_mean.double(), maps.mean((0, 1, 3, 4)), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(norm.running_var.double(), variances, rtol=1e-5, atol=1e-6)


def test_a_pretrained_networks_batch_statistics_stay():
    frozen = Frozen(Toy(), "toy", "0" * 64)
    before = copy.deepcopy(frozen.network.state_dict())
    last = nn.BatchNorm2d(10)

    class Judged(nn.Module):
        def __init__(self):
            super().__init__()
            self.frozen, self.last = frozen, last

        def forward(self, images):
            return self.last(self.frozen(images)[1])

    recompute_batch_norm(Judged(), [(torch.randn(4, 3, 32, 32) + 1,)])
    assert last.running_mean.any()
    assert all(torch.equal(value, before[name]) for name, value in frozen.network.state_dict().items())
    assert not any(part.training for part in frozen.network.modules())
