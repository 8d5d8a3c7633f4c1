"""GAN-CLS's terms against independent few-line references, and its two losses against the plain three-pass version."""

import math

import pytest
import torch
from support.three_pass import three_pass_losses
from support.tiny_training import SYSTEM_A, batch, networks
from torch import nn

from textbloom.models.base import Discriminator
from textbloom.training.objectives import gan_cls
from textbloom.training.objectives.base import Batch, Networks
from textbloom.training.objectives.gan_cls import GanCls

LOGITS = torch.tensor([-2.0, 0.3, 4.0])
CHANCES = [1 / (1 + math.exp(-value)) for value in LOGITS.tolist()]


def a_batch(**changes):
    images, text, _ = batch()
    noise = torch.randn(2, 6, 5, generator=torch.Generator().manual_seed(3))
    return Batch(images, text, noise, **changes)


@pytest.mark.parametrize("target", [0.0, 0.9, 1.0])
def test_cross_entropy_is_the_textbook_formula(target):
    expected = -sum(target * math.log(c) + (1 - target) * math.log(1 - c) for c in CHANCES) / 3
    assert gan_cls.cross_entropy(LOGITS, target).item() == pytest.approx(expected, rel=1e-6)


def test_cross_entropy_stays_finite_where_a_sigmoid_saturates():
    assert gan_cls.cross_entropy(torch.tensor([1e4]), 0.0).item() == pytest.approx(1e4)


@pytest.mark.parametrize("saturating", [False, True])
def test_the_adversarial_loss_is_its_formula_and_falls_as_the_discriminator_is_fooled(saturating):
    expected = sum(math.log(1 - c) if saturating else -math.log(c) for c in CHANCES) / 3
    assert gan_cls.adversarial_loss(LOGITS, saturating).item() == pytest.approx(expected, rel=1e-5)
    assert gan_cls.adversarial_loss(LOGITS + 1, saturating) < gan_cls.adversarial_loss(LOGITS, saturating)


def test_feature_matching_compares_means_over_the_batch_alone_and_sums_over_scales():
    fake = torch.tensor([[[[1.0, 3.0]]], [[[3.0, 5.0]]]])
    real = torch.tensor([[[[0.0, 0.0]]], [[[2.0, 4.0]]]])
    distance = ((2 - 1) ** 2 + (4 - 2) ** 2) / 2
    assert gan_cls.feature_matching([fake], [real]).item() == pytest.approx(distance)
    assert gan_cls.feature_matching([fake, fake], [real, fake.flip(0)]).item() == pytest.approx(distance)


@pytest.mark.parametrize("changes", [{}, {"matching_aware": False}, {"negatives_weight": 1.0, "label_smoothing": 0.0}])
def test_both_losses_and_their_gradients_are_those_of_the_plain_three_pass_version(changes):
    objective, pair, data = GanCls(**{**SYSTEM_A, **changes}), networks(), a_batch()
    d_loss, g_loss = three_pass_losses(pair, objective, data.images, data.text, data.noise)
    for ours, theirs, learning in (
        (objective.discriminator(pair, data)[0], d_loss, pair.discriminator),
        (objective.generator(pair, data)[0], g_loss(), pair.generator),
    ):
        assert ours.item() == pytest.approx(theirs.item(), rel=1e-5)
        weights = list(learning.parameters())
        for own, other in zip(torch.autograd.grad(ours, weights), torch.autograd.grad(theirs, weights), strict=True):
            assert torch.allclose(own, other, rtol=1e-3, atol=1e-4 * max(1.0, other.abs().max().item()))


@pytest.mark.parametrize("discriminator_text", [False, True])
def test_the_ablations_leave_their_terms_out(discriminator_text):
    plain, pair = GanCls(matching_aware=False), networks(discriminator_text=discriminator_text)
    d_loss, d_terms = plain.discriminator(pair, a_batch())
    g_loss, g_terms = plain.generator(pair, a_batch())
    assert list(d_terms) == ["real", "fake"] and list(g_terms) == ["adversarial"]
    assert d_loss.item() == pytest.approx((d_terms["real"] + 0.5 * d_terms["fake"]).item())
    assert g_loss == g_terms["adversarial"]


def test_the_divergence_enters_the_generators_loss_with_its_weight():
    pair = networks("stackgan")
    images, text, _ = batch()
    noise = torch.randn(2, 6, pair.generator.noise_dim)
    loss, terms = GanCls(conditioning_kl=2.0).generator(pair, Batch(images, text, noise))
    assert terms["kl"] > 0
    assert loss.item() == pytest.approx((terms["adversarial"] + 2 * terms["kl"]).item())


class Lookup(Discriminator):
    """Sees a picture's mean alone; remembers all that it was asked about."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))
        self.seen = []

    def features(self, images):
        self.seen.append(images)
        return [self.weight * images.mean((2, 3), keepdim=True)]

    def project(self, text):
        return text

    def score(self, features, text):
        return features[-1].sum((1, 2, 3)) * text.sum(1)


def test_the_augmentation_changes_all_that_the_discriminator_sees_and_nothing_else():
    objective = GanCls(feature_matching=1.0, pixel_l1=1.0)
    pair, data = Networks(networks().generator, Lookup()), a_batch()
    plain = objective.generator(pair, data)[1]
    pair.discriminator.seen.clear()
    data.augment = lambda pictures: torch.full_like(pictures, 0.25) + 0.0 * pictures
    objective.discriminator(pair, data)
    terms = objective.generator(pair, data)[1]
    assert len(pair.discriminator.seen) == 4
    assert all((pictures == 0.25).all() for pictures in pair.discriminator.seen)
    assert terms["features"] == 0
    assert terms["pixels"].item() == pytest.approx(plain["pixels"].item(), rel=1e-5)


@pytest.mark.parametrize(
    ("losses", "smoothing", "epoch"),
    [
        ([0.04] * 4, 0.0, None),
        ([0.04] * 5, 0.0, 5),
        ([1.0, *[0.04] * 9], 0.0, 6),
        ([0.04, 0.04, 0.04, 0.04, 0.06, 0.04, 0.04, 0.04, 0.04], 0.0, None),
        # a target of 0.9 costs at least -0.9 ln 0.9 - 0.1 ln 0.1 = 0.3251 nats
        ([0.3251 + 0.04] * 5, 0.1, 5),
        ([0.3251 + 0.06] * 9, 0.1, None),
    ],
)
def test_a_discriminator_has_won_when_its_loss_was_near_the_least_for_five_epochs_in_a_row(losses, smoothing, epoch):
    warning = GanCls(label_smoothing=smoothing).warning([{"discriminator": loss} for loss in losses])
    assert (warning is None) == (epoch is None)
    assert epoch is None or f"the discriminator has won by epoch {epoch}:" in warning
