"""The project's own system: shapes, chance, what its discriminator may learn and what stays as it was."""

import copy

import pytest
import torch
from support.tiny_training import SMALL, Toy, networks
from torch import nn
from torch.nn.utils import parametrizations, parametrize

from textbloom import models
from textbloom.features import efficientnet
from textbloom.models.base import Frozen, pretrained
from textbloom.models.text_directions import TextDirections
from textbloom.models.textbloom import GROUP, MATCHED, SpectralNorm, spectral_norm


@pytest.fixture
def pair():
    return networks("textbloom", discriminator_features=8, backbone=Frozen(Toy(), "toy", "ab" * 32), backbone_side=32)


def pictures(generator, count=3):
    return generator(torch.randn(count, generator.noise_dim), torch.randn(count, 12))


@pytest.mark.parametrize("size", [64, 128])
def test_pictures_have_their_size_and_range_and_the_noise_counts_all_chance(size):
    generator = networks("textbloom", size).generator.eval()
    assert generator.noise_dim == SMALL["noise_dim"] + SMALL["text_projection"]
    made = pictures(generator)
    assert made.shape == (3, 3, size, size) and made.abs().max() <= 1
    noise, text = torch.randn(1, generator.noise_dim), torch.randn(1, 12)
    assert torch.equal(generator(noise, text), generator(noise, text))
    assert torch.equal(generator(noise, text), generator.before_tanh(noise, text).tanh())
    for part in (slice(0, 5), slice(5, 11)):  # z, and ε of the conditioning
        other = noise.clone()
        other[:, part] += 1.0
        assert not torch.equal(generator(noise, text), generator(other, text))


def test_widths_are_those_asked_for_or_follow_the_narrowest_layer():
    def found(**changes):
        return [block.shortcut.out_channels for block in networks("textbloom", **changes).generator.blocks]

    assert found(features=32) == [256, 128, 64, 32]
    assert found(features=64) == [256, 256, 128, 64]
    assert found(widths=[9, 7, 5, 3, 2]) == [7, 5, 3, 2]


def test_a_generator_is_built_again_without_the_backbone(pair):
    config = {"network": {"name": "textbloom", "size": 64, "discriminator_text": True, **SMALL, "backbone_side": 32}}
    again = models.generator_of(config)
    again.load_state_dict(pair.generator.state_dict())
    noise, text = torch.randn(2, again.noise_dim), torch.randn(2, 12)
    assert torch.equal(again.eval()(noise, text), pair.generator.eval()(noise, text))


def test_every_head_judges_every_picture_and_counts_the_same(pair):
    d = pair.discriminator
    features = d.features(torch.randn(8, 3, 64, 64))
    assert [scale.shape[:2] for scale in features] == [(8, 1 + MATCHED)] * 3  # two scales of the backbone, and pixels
    logits = d.score(features, d.project(torch.randn(8, 12)))
    places = [scale[0, 0].numel() for scale in features]
    assert logits.shape == (8, sum(places)) and d.logit_weights.shape == (sum(places),)
    assert torch.allclose(torch.stack([part.sum() for part in d.logit_weights.split(places)]), torch.ones(3))


def test_the_text_adds_a_dot_product_to_the_logit_of_the_picture_alone(pair):
    d = pair.discriminator.eval()
    features = d.features(torch.randn(8, 3, 64, 64))
    alone, (a, b) = d.score(features, None), torch.randn(2, 8, 3 * MATCHED)
    with_a, with_b, with_both = (d.score(features, text) - alone for text in (a, b, 2 * a - b))
    assert torch.allclose(with_both, 2 * with_a - with_b, atol=1e-4)
    assert torch.allclose(d.score(features, torch.zeros_like(a)), alone)


def test_a_discriminator_without_text_scores_pictures_alone():
    d = networks("textbloom", discriminator_text=False).discriminator
    features = d.features(torch.randn(8, 3, 64, 64))
    assert d.project(torch.randn(8, 12)) is None
    assert d.score(features, None).shape == (8, 16)


def test_features_come_in_a_frozen_and_a_learned_part(pair):
    d, images = pair.discriminator.eval(), torch.randn(8, 3, 64, 64)
    whole = d.features(images)
    parts = d.learned_features(d.frozen_features(images))
    assert all(torch.equal(a, b) for a, b in zip(whole, parts, strict=True))


def test_the_backbone_is_not_saved_and_the_mixture_is_saved_and_not_trained(pair):
    d = pair.discriminator.train()
    assert not any(name.startswith("backbone") for name in d.state_dict())
    assert not any(part.training for part in d.backbone.network.modules())
    assert pretrained(pair.generator, d) == [{"name": "toy", "sha256": "ab" * 32}]
    assert {name for name, weight in d.named_parameters() if not weight.requires_grad} == {
        name for name in d.state_dict() if name.startswith("mixture.")
    }


def test_the_backbone_computes_in_the_type_of_autocast_with_gradients_and_without(pair):
    d, images, seen = pair.discriminator, torch.randn(8, 3, 64, 64), []
    d.backbone.network.register_forward_hook(lambda network, given, maps: seen.append(maps[0].dtype))
    with torch.autocast("cpu", torch.bfloat16):
        d.features(images)
        sum(scale.sum() for scale in d.features(images.requires_grad_())).backward()
        with torch.no_grad():
            d.features(images)
    assert seen == [torch.bfloat16] * 3
    assert images.grad.abs().sum() > 0


def test_pictures_that_differ_less_are_seen_to(pair):
    d = pair.discriminator.eval()
    one, others = torch.randn(1, 3, 64, 64), torch.randn(7, 3, 64, 64)
    among_others, among_its_likes = (d.features(torch.cat([one, rest])) for rest in (others, one.expand(7, -1, -1, -1)))
    for mixed, alike in zip(among_others, among_its_likes, strict=True):
        assert not torch.allclose(mixed[0, 0], alike[0, 0])  # the logit of the picture alone
        assert torch.allclose(mixed[0, 1:], alike[0, 1:], atol=1e-5)  # what is matched with the text


def deviations(d, images):
    """What each head is told about how much the pictures differ, [B, 1, h, w] a head."""
    seen = []
    hooks = [head.realness.register_forward_pre_hook(lambda part, given: seen.append(given[0])) for head in d.heads]
    with torch.no_grad():
        d.features(images)
    for hook in hooks:
        hook.remove()
    return [maps[:, -1:] for maps in seen], [maps[:, :-1] for maps in seen]


def test_equal_pictures_do_not_deviate_and_others_by_their_mean_standard_deviation(pair):
    d, images = pair.discriminator.eval(), torch.randn(GROUP, 3, 64, 64)
    for told in deviations(d, images[:1].expand(GROUP, -1, -1, -1))[0]:
        assert told.max() < 1.1e-3  # the root of what keeps its slope finite
    for told, maps in zip(*deviations(d, images), strict=True):
        expected = maps.double().std(0, unbiased=False).mean()
        torch.testing.assert_close(told.double(), expected.expand_as(told), rtol=1e-3, atol=1e-3)
        assert expected > 0.01


@pytest.mark.parametrize(("count", "groups"), [(2 * GROUP, 2), (3 * GROUP, 3), (GROUP + 1, 1), (GROUP - 1, 1)])
def test_a_group_sees_the_deviation_of_its_own_pictures_alone(pair, count, groups):
    d, images = pair.discriminator.eval(), torch.randn(count, 3, 64, 64)
    before, _ = deviations(d, images)
    for changed in (0, 1, count - 1):
        others = images.clone()
        others[changed] *= 3
        for was, now in zip(before, deviations(d, others)[0], strict=True):
            moved = [not torch.equal(a, b) for a, b in zip(was, now, strict=True)]
            assert moved == [place % groups == changed % groups for place in range(count)]


def test_the_published_backbone_stays_as_it_was_and_gives_gradients_to_pictures_alone():
    network, digest = efficientnet.scales("efficientnet-lite0")
    before = copy.deepcopy(network.state_dict())
    d = networks(
        "textbloom", discriminator_features=8, backbone=Frozen(network, "efficientnet-lite0", digest), backbone_side=32
    ).discriminator.train()
    assert pretrained(d) == [{"name": "efficientnet-lite0", "sha256": digest}]
    images = torch.randn(2, 3, 64, 64, requires_grad=True)
    logits, features = d(images, torch.randn(2, 12))
    assert len(features) == 5 and logits.shape == (2, len(d.logit_weights))  # four scales and the pixels
    logits.mean().backward()
    assert images.grad.any() and not network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(weight.grad is None for weight in network.parameters())


def test_both_networks_take_their_directions_from_the_training_captions(pair):
    captions = torch.randn(100, 12)
    models.fit_text(pair.generator, pair.discriminator, captions)
    expected = TextDirections(12, None)
    expected.fit(captions)
    for network in (pair.generator, pair.discriminator):
        assert torch.equal(network.text.directions, expected.directions)


@pytest.mark.parametrize("layer", [nn.Conv2d(3, 8, 4), nn.Linear(5, 7)])
def test_spectral_norm_brings_the_largest_singular_value_to_one(layer):
    original = layer.weight.detach().clone()
    spectral_norm(layer)
    for _ in range(200):
        weight = layer.weight
    assert torch.linalg.matrix_norm(weight.flatten(1), 2).item() == pytest.approx(1.0, abs=1e-4)
    assert torch.allclose(weight / weight.norm(), original / original.norm(), atol=1e-6)
    parametrize.remove_parametrizations(layer, "weight")


def test_spectral_norm_divides_by_what_torchs_does():
    ours, matrix = nn.Linear(30, 20, bias=False), torch.randn(20, 30)
    with torch.no_grad():
        ours.weight.copy_(matrix)
    theirs = parametrizations.spectral_norm(copy.deepcopy(ours))
    spectral_norm(ours)
    for _ in range(300):
        weight, expected = ours.weight, theirs.weight
    torch.testing.assert_close(weight, expected, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(weight, matrix / torch.linalg.svdvals(matrix.double())[0].float(), rtol=1e-4, atol=1e-6)


def test_spectral_norm_goes_on_only_where_the_weight_learns_and_in_float32_under_autocast():
    weight = nn.Parameter(torch.randn(6, 4))
    norm = SpectralNorm(torch.randn(6, 4))  # another matrix's vectors: there is something left to find
    start = norm.u
    for learns, training in [(False, True), (True, False)]:
        weight.requires_grad_(learns)
        norm.train(training)(weight)
        assert norm.u is start
    with torch.autocast("cpu", torch.bfloat16):
        assert norm.train()(weight).dtype == torch.float32
    assert norm.u is not start and norm.u.dtype == torch.float32
