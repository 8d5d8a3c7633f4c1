"""System A is built to its specification, layer by layer."""

from collections.abc import Iterable

import pytest
import torch
from torch import nn

from textbloom import models


def build(size: int, features: int = 128, text_projection: int = 256, discriminator_text: bool = True):
    return models.build(
        "dcgan",
        size=size,
        embedding_dim=768,
        noise_dim=100,
        features=features,
        text_projection=text_projection,
        discriminator_text=discriminator_text,
    )


def weights(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def kinds(network: Iterable[nn.Module]) -> list[tuple]:
    described: list[tuple] = []
    # They are equal: test_layers.py.
    published = {
        "VectorToMap": "ConvTranspose2d",
        "MapToLogit": "Conv2d",
        "MatmulConv2d": "Conv2d",
        "MatmulConvTranspose2d": "ConvTranspose2d",
    }
    for layer in network:
        name = published.get(type(layer).__name__, type(layer).__name__)
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            shape = (layer.in_channels, layer.out_channels, layer.kernel_size[0], layer.stride[0], layer.padding[0])
            assert layer.bias is None
            described.append((name, *shape))
        elif isinstance(layer, nn.LeakyReLU):
            described.append((name, layer.negative_slope))
        else:
            described.append((name,))
    return described


def generator_spec(size: int, f: int, z: int, p: int) -> list[tuple]:
    spec = [("ConvTranspose2d", z + p, 8 * f, 4, 1, 0), ("BatchNorm2d",), ("LeakyReLU", 0.2)]
    blocks = [(8 * f, 4 * f), (4 * f, 2 * f), (2 * f, f)] + ([(f, f)] if size == 128 else [])
    for before, after in blocks:
        spec += [("ConvTranspose2d", before, after, 4, 2, 1), ("BatchNorm2d",), ("ReLU",)]
    return [*spec, ("ConvTranspose2d", f, 3, 4, 2, 1), ("Tanh",)]


def discriminator_spec(size: int, f: int) -> list[tuple]:
    spec = [("Conv2d", 3, f, 4, 2, 1), ("LeakyReLU", 0.2)]
    if size == 128:
        spec += [("Conv2d", f, f, 4, 2, 1), ("LeakyReLU", 0.2)]
    for before, after in [(f, 2 * f), (2 * f, 4 * f), (4 * f, 8 * f)]:
        spec += [("Conv2d", before, after, 4, 2, 1), ("BatchNorm2d",), ("LeakyReLU", 0.2)]
    return spec


@pytest.mark.parametrize("size", [64, 128])
def test_the_layers_are_those_of_the_specification(size):
    generator, discriminator = build(size)
    assert kinds(generator.picture) == generator_spec(size, 128, 100, 256)
    assert kinds(discriminator.picture) == discriminator_spec(size, 128)
    assert kinds([discriminator.judge]) == [("Conv2d", 8 * 128 + 256, 1, 4, 1, 0)]
    for text in (generator.text, discriminator.text):
        assert [type(layer) for layer in text] == [nn.Linear, nn.BatchNorm1d, nn.LeakyReLU]
        assert (text[0].in_features, text[0].out_features, text[2].negative_slope) == (768, 256, 0.2)


@pytest.mark.parametrize("size", [64, 128])
def test_the_courses_questions_have_their_answers(size):
    generator, discriminator = build(size)
    used = {type(layer) for network in (generator, discriminator) for layer in network.modules()}
    # Which layers are not used? None that pools or enlarges, for strides do that, and none that drops out.
    assert not used & {nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.Upsample, nn.Dropout, nn.Dropout2d}
    # How many channels does the discriminator's last convolution take? Those of the picture and of the text.
    assert discriminator.judge.in_channels == 8 * 128 + 256 == 1280
    # What are the text's dimensions? 768 from the encoder, 256 beside 100 of noise in the generator.
    assert generator.text[0].in_features == discriminator.text[0].in_features == 768
    first = next(layer for layer in generator.picture.modules() if isinstance(layer, nn.ConvTranspose2d))
    assert first.in_channels == 100 + 256 == 356


@pytest.mark.parametrize(("size", "blocks"), [(64, 0), (128, 1)])
def test_the_weights_add_up(size, blocks):
    f, z, p, d = 128, 100, 256, 768
    text = d * p + p + 2 * p
    up = 16 * ((z + p) * 8 * f + 32 * f * f + 8 * f * f + 2 * f * f + blocks * f * f + 3 * f)
    down = 16 * (3 * f + blocks * f * f + 2 * f * f + 8 * f * f + 32 * f * f)
    norms_g, norms_d = 2 * (8 + 4 + 2 + 1 + blocks) * f, 2 * (2 + 4 + 8) * f
    generator, discriminator = build(size)
    assert weights(generator) == text + up + norms_g
    assert weights(discriminator) == text + down + norms_d + 16 * (8 * f + p)


@pytest.mark.parametrize("size", [64, 128])
def test_shapes_and_ranges_are_as_promised(size):
    generator, discriminator = build(size, features=4)
    noise, text = torch.randn(3, 100), torch.randn(3, 768)
    pictures = generator(noise, text)
    logits, (features,) = discriminator(pictures, text)
    assert pictures.shape == (3, 3, size, size)
    assert pictures.abs().max() <= 1
    assert features.shape == (3, 32, 4, 4)
    assert logits.shape == (3,)


def test_a_size_that_is_no_power_of_two_has_no_network():
    with pytest.raises(AssertionError, match="96"):
        build(96)


def test_a_discriminator_without_text_ignores_it():
    _, discriminator = build(64, features=4, discriminator_text=False)
    discriminator.eval()
    pictures = torch.rand(2, 3, 64, 64)
    ours, theirs = (discriminator(pictures, torch.randn(2, 768))[0] for _ in range(2))
    assert torch.equal(ours, theirs)
    assert not [name for name, _ in discriminator.named_parameters() if name.startswith("text")]
