"""System B is built to its specification."""

import pytest
import torch
from torch import nn

from textbloom import models


def build(**changes):
    published = {"size": 64, "embedding_dim": 1024, "noise_dim": 100, "features": 64, "text_projection": 128}
    return models.build("gan-cls", **{**published, "discriminator_text": True, **changes})


def convolutions(network: nn.Module) -> list[tuple]:
    return [
        (layer.in_channels, layer.out_channels, layer.kernel_size[0], layer.stride[0], layer.padding[0])
        for layer in network.modules()
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)
    ]


def test_the_layers_are_the_published_ones():
    generator, discriminator = build()
    assert convolutions(generator) == [
        (228, 512, 4, 1, 0), (512, 256, 4, 2, 1), (256, 128, 4, 2, 1), (128, 64, 4, 2, 1), (64, 3, 4, 2, 1),
    ]  # fmt: skip
    assert convolutions(discriminator) == [
        (3, 64, 4, 2, 1), (64, 128, 4, 2, 1), (128, 256, 4, 2, 1), (256, 512, 4, 2, 1), (640, 1, 4, 1, 0),
    ]  # fmt: skip
    activations = [layer for layer in generator.picture if isinstance(layer, nn.ReLU | nn.LeakyReLU | nn.Tanh)]
    assert [type(layer).__name__ for layer in activations] == ["ReLU"] * 4 + ["Tanh"]


def test_parameters_are_as_many_as_the_specification_counts():
    text = 1024 * 128 + 128 + 2 * 128
    generator = text + 16 * (228 * 512 + 512 * 256 + 256 * 128 + 128 * 64 + 64 * 3) + 2 * (512 + 256 + 128 + 64)
    discriminator = text + 16 * (3 * 64 + 64 * 128 + 128 * 256 + 256 * 512 + 640) + 2 * (128 + 256 + 512)
    assert [sum(p.numel() for p in network.parameters()) for network in build()] == [generator, discriminator]


@pytest.mark.parametrize("which", [0, 1])
def test_weights_start_normal_with_a_spread_of_two_hundredths(which):
    torch.manual_seed(0)
    for layer in build()[which].modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            count = layer.weight.numel()
            assert layer.weight.std().item() == pytest.approx(0.02, rel=5 / count**0.5)
            assert abs(layer.weight.mean().item()) < 5 * 0.02 / count**0.5
        elif isinstance(layer, nn.BatchNorm2d):
            assert layer.weight.mean().item() == pytest.approx(1.0, abs=0.02)
            assert layer.bias.abs().max() == 0
