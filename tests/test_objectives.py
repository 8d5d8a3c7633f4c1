"""Each loss against an independent few-line reference, and the training step against the plain three-pass version."""

import copy
import math

import pytest
import torch
from torch import nn

from textbloom import models
from textbloom.core.seeding import generator_for
from textbloom.training import objectives
from textbloom.training.trainer import TERMS, Recipe, Trainer

CPU = torch.device("cpu")


def recipe(**changes) -> Recipe:
    published = {
        "seed": 3, "matching_aware": True, "negatives_weight": 0.5, "saturating": False, "feature_matching": 100.0,
        "pixel_l1": 50.0, "conditioning_kl": 0.0, "label_smoothing": 0.1, "lr": 2e-4, "lr_halving": None,
        "beta1": 0.5, "beta2": 0.999, "ema_decay": 0.9, "autocast": None,
    }  # fmt: skip
    return Recipe(**{**published, **changes})


def networks(discriminator_text: bool = True):
    torch.manual_seed(1)
    return models.build(
        "dcgan",
        size=64,
        embedding_dim=12,
        noise_dim=5,
        features=4,
        text_projection=6,
        discriminator_text=discriminator_text,
    )


def batch():
    stream = torch.Generator().manual_seed(2)
    return torch.rand(6, 3, 64, 64, generator=stream) * 2 - 1, torch.randn(6, 12, generator=stream)


def test_cross_entropy_is_the_textbook_formula():
    logits = torch.tensor([-2.0, 0.3, 4.0])
    for target in (0.0, 0.9, 1.0):
        chances = [1 / (1 + math.exp(-value)) for value in logits.tolist()]
        expected = -sum(target * math.log(c) + (1 - target) * math.log(1 - c) for c in chances) / 3
        assert objectives.cross_entropy(logits, target).item() == pytest.approx(expected, rel=1e-6)


def test_cross_entropy_stays_finite_where_a_sigmoid_saturates():
    assert objectives.cross_entropy(torch.tensor([1e4]), 0.0).item() == pytest.approx(1e4)


@pytest.mark.parametrize("saturating", [False, True])
def test_fooling_is_its_formula_and_falls_as_the_discriminator_is_fooled(saturating):
    logits = torch.tensor([-2.0, 0.3, 4.0])
    chances = [1 / (1 + math.exp(-value)) for value in logits.tolist()]
    expected = sum(math.log(1 - c) if saturating else -math.log(c) for c in chances) / 3
    assert objectives.fooling(logits, saturating).item() == pytest.approx(expected, rel=1e-5)
    assert objectives.fooling(logits + 1, saturating) < objectives.fooling(logits, saturating)


def test_the_learning_rate_halves_on_schedule_and_is_constant_without_one():
    for halving, expected in ((20, [2e-4, 2e-4, 1e-4, 0.5e-4]), (None, [2e-4] * 4)):
        trainer = Trainer(*networks(), recipe(lr_halving=halving), CPU)
        for epoch, rate in zip((0, 19, 20, 59), expected, strict=True):
            trainer.start_epoch(epoch)
            groups = [*trainer.optimizer_g.param_groups, *trainer.optimizer_d.param_groups]
            assert [group["lr"] for group in groups] == pytest.approx([rate] * 2)


def test_the_negatives_weight_scales_both_negatives():
    terms = objectives.DiscriminatorTerms(*(torch.tensor(x) for x in (1.0, 2.0, 4.0)))
    assert terms.total(0.5).item() == 4.0
    assert terms.total(1.0).item() == 7.0


def test_feature_matching_compares_means_over_the_batch_alone():
    fake = torch.tensor([[[[1.0, 3.0]]], [[[3.0, 5.0]]]])
    real = torch.tensor([[[[0.0, 0.0]]], [[[2.0, 4.0]]]])
    assert objectives.feature_matching(fake, real).item() == pytest.approx(((2 - 1) ** 2 + (4 - 2) ** 2) / 2)
    assert objectives.feature_matching(fake, fake.flip(0)).item() == 0


def three_pass_losses(generator, discriminator, images, text, noises, r):
    """System A as published: every pair through the discriminator by itself, sigmoid outputs, binary cross entropy."""
    bce, ones = nn.BCELoss(), torch.ones(len(images))
    wrong_images = images.roll(1, dims=0)

    def judge(pictures):
        logits, features = discriminator(pictures, text)
        return torch.sigmoid(logits), features

    real = bce(judge(images)[0], ones * (1 - r.label_smoothing))
    wrong = bce(judge(wrong_images)[0], ones * 0) if r.matching_aware else torch.zeros(())
    fake = bce(judge(generator(noises[0], text).detach())[0], ones * 0)
    d_loss = real + r.negatives_weight * (wrong + fake)

    def g_loss():
        pictures = generator(noises[1], text)
        output, features = judge(pictures)
        real_features = judge(images)[1].detach()
        matching = ((features.mean(0) - real_features.mean(0)) ** 2).mean()
        pixels = (pictures - images).abs().mean()
        return bce(output, ones) + r.feature_matching * matching + r.pixel_l1 * pixels

    return d_loss, g_loss


@pytest.mark.parametrize("changes", [{}, {"matching_aware": False}, {"negatives_weight": 1.0, "label_smoothing": 0.0}])
def test_a_step_equals_the_plain_three_pass_version(changes):
    images, text = batch()
    generator, discriminator = networks()
    r = recipe(**changes)
    trainer = Trainer(copy.deepcopy(generator), copy.deepcopy(discriminator), r, CPU)
    losses = dict(zip(TERMS, trainer.advance(images, text).tolist(), strict=True))

    noises = torch.randn(2, 6, 5, generator=generator_for(r.seed, "noise", 0))
    adam = {"lr": r.lr, "betas": (r.beta1, r.beta2)}
    adam_d = torch.optim.Adam(discriminator.parameters(), **adam)
    adam_g = torch.optim.Adam(generator.parameters(), **adam)
    d_loss, g_loss = three_pass_losses(generator, discriminator, images, text, noises, r)
    d_loss.backward()
    expected = {discriminator: [parameter.grad.clone() for parameter in discriminator.parameters()]}
    adam_d.step()
    loss = g_loss()
    adam_g.zero_grad()
    loss.backward()
    expected[generator] = [parameter.grad.clone() for parameter in generator.parameters()]
    adam_g.step()

    assert losses["discriminator"] == pytest.approx(d_loss.item(), rel=1e-5)
    assert losses["generator"] == pytest.approx(loss.item(), rel=1e-5)
    for ours, theirs in ((trainer.generator, generator), (trainer.discriminator, discriminator)):
        for (name, parameter), gradient in zip(ours.named_parameters(), expected[theirs], strict=True):
            tolerance = 1e-4 * max(1.0, gradient.abs().max().item())
            assert torch.allclose(parameter.grad, gradient, rtol=1e-3, atol=tolerance), name


def test_the_generator_step_leaves_the_discriminators_weights_and_gradients_alone():
    images, text = batch()
    trainer = Trainer(*networks(), recipe(), CPU)
    trainer.advance(images, text)
    before = [parameter.detach().clone() for parameter in trainer.discriminator.parameters()]
    gradients = [parameter.grad.clone() for parameter in trainer.discriminator.parameters()]
    trainer.discriminator.requires_grad_(False)
    loss, _ = trainer._generator_loss(images, text, torch.randn(6, 5))
    loss.backward()
    for parameter, old, gradient in zip(trainer.discriminator.parameters(), before, gradients, strict=True):
        assert torch.equal(parameter, old)
        assert torch.equal(parameter.grad, gradient)


def test_the_discriminator_step_reaches_no_generator_weight():
    images, text = batch()
    trainer = Trainer(*networks(), recipe(), CPU)
    loss, _ = trainer._discriminator_loss(images, text, torch.randn(6, 5))
    loss.backward()
    assert all(parameter.grad is None for parameter in trainer.generator.parameters())
    assert all(parameter.grad is not None for parameter in trainer.discriminator.parameters())


def test_noise_is_fresh_for_each_network_and_each_step():
    trainer = Trainer(*networks(), recipe(), CPU)
    first = trainer._noise(2, 6)
    trainer.step = 1
    second = trainer._noise(2, 6)
    draws = [first[0], first[1], second[0], second[1]]
    assert all(not torch.equal(a, b) for i, a in enumerate(draws) for b in draws[:i])


def test_the_ablations_are_reached_by_parameters_alone():
    images, text = batch()
    plain = recipe(matching_aware=False, feature_matching=0.0, pixel_l1=0.0, label_smoothing=0.0)
    for discriminator_text in (False, True):
        trainer = Trainer(*networks(discriminator_text), plain, CPU)
        losses = dict(zip(TERMS, trainer.advance(images, text).tolist(), strict=True))
        assert losses["d_wrong"] == losses["g_features"] == losses["g_pixels"] == 0
        assert losses["generator"] == losses["g_fooling"]
        assert losses["discriminator"] == pytest.approx(losses["d_real"] + 0.5 * losses["d_fake"])
