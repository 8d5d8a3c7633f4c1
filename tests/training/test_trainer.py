"""One step: which weights it moves, by which gradients, with which noise and learning rate."""

import copy
import math

import pytest
import torch
from support.three_pass import three_pass_losses
from support.tiny_training import ADAM, CPU, SEED, SYSTEM_A, batch, networks, trainer
from torch import nn

from textbloom.core.seeding import generator_for
from textbloom.models.base import Discriminator, Frozen
from textbloom.training.ema import Ema, recompute_batch_norm
from textbloom.training.objectives.base import Networks, Objective
from textbloom.training.objectives.gan_cls import GanCls
from textbloom.training.trainer import Trainer, learning_rate_factor


class Watching(GanCls):
    """GAN-CLS that keeps the batches that it was given."""

    def discriminator(self, networks, batch):
        self.__dict__.setdefault("batches", []).append(batch)
        return super().discriminator(networks, batch)

    def generator(self, networks, batch):
        assert not any(weight.requires_grad for weight in networks.discriminator.parameters())
        return super().generator(networks, batch)


def watched(**changes):
    objective = Watching(**SYSTEM_A)
    optimizers = {"generator": ADAM, "discriminator": ADAM}
    return Trainer(networks(), objective, optimizers, CPU, seed=SEED, ema_half_life=26.0, **changes), objective


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_step_in_micro_batches_has_the_mean_of_their_losses_and_gradients_each_as_published(count):
    images, text, wrong = batch(micro_batches=count)
    pair = networks()
    found = trainer(Networks(*map(copy.deepcopy, (pair.generator, pair.discriminator))), accumulate=count)
    losses = found.advance(images, text, wrong)

    noises = torch.randn(2, 6, 5, generator=generator_for(SEED, "noise", 0))
    micro = list(zip(images.chunk(count), text.chunk(count), noises.chunk(count, dim=1), strict=True))
    plain = GanCls(**SYSTEM_A)
    d_loss = sum(three_pass_losses(pair, plain, *part)[0] for part in micro) / count
    gradients = {"discriminator": torch.autograd.grad(d_loss, list(pair.discriminator.parameters()))}
    adam = torch.optim.Adam(pair.discriminator.parameters(), **ADAM)
    for weight, gradient in zip(pair.discriminator.parameters(), gradients["discriminator"], strict=True):
        weight.grad = gradient
    adam.step()
    g_loss = sum(three_pass_losses(pair, plain, *part)[1]() for part in micro) / count
    gradients["generator"] = torch.autograd.grad(g_loss, list(pair.generator.parameters()))

    assert losses["discriminator"].item() == pytest.approx(d_loss.item(), rel=1e-5)
    assert losses["generator"].item() == pytest.approx(g_loss.item(), rel=1e-5)
    for name, expected in gradients.items():
        for weight, gradient in zip(getattr(found.networks, name).parameters(), expected, strict=True):
            tolerance = 1e-4 * max(1.0, gradient.abs().max().item())
            assert torch.allclose(weight.grad, gradient, rtol=1e-3, atol=tolerance)


def test_losses_are_named_by_the_objectives_terms():
    losses = trainer().advance(*batch())
    d_terms, g_terms = ["d_real", "d_wrong", "d_fake"], ["g_adversarial", "g_features", "g_pixels"]
    assert list(losses) == ["discriminator", "generator", *d_terms, *g_terms]


def test_the_generators_step_leaves_the_discriminator_alone_and_the_discriminators_the_generator():
    found, images_and_text = trainer(), batch()
    step, seen = found.optimizers["generator"].step, {}

    def generator_step():
        weights = list(found.networks.discriminator.parameters())
        seen["after D"] = [weight.detach().clone() for weight in weights], [weight.grad.clone() for weight in weights]
        step()

    found.optimizers["generator"].step = generator_step
    found.optimizers["discriminator"].zero_grad()
    before = [weight.detach().clone() for weight in found.networks.generator.parameters()]
    discriminator_step = found.optimizers["discriminator"].step
    found.optimizers["discriminator"].step = lambda: (
        seen.update(untouched=all(w.grad is None for w in found.networks.generator.parameters())),
        discriminator_step(),
    )
    found.advance(*images_and_text)
    assert seen["untouched"]
    for weight, old, gradient in zip(found.networks.discriminator.parameters(), *seen["after D"], strict=True):
        assert torch.equal(weight, old) and torch.equal(weight.grad, gradient) and weight.requires_grad
    after = found.networks.generator.parameters()
    assert not any(torch.equal(old, new) for old, new in zip(before, after, strict=True))


class Projected(Discriminator):
    """A trained head on the features of a frozen network, at two scales, with a weight that is frozen for good."""

    def __init__(self):
        super().__init__()
        self.eye = Frozen(nn.Sequential(nn.Conv2d(3, 4, 3, 2), nn.BatchNorm2d(4)), "eye", "00" * 32)
        self.heads = nn.ModuleList([nn.Linear(4, 12), nn.Linear(4, 12)])
        self.scale = nn.Parameter(torch.ones(()), requires_grad=False)

    def features(self, images):
        first = self.eye(images)
        return [first, nn.functional.avg_pool2d(first, 2)]

    def project(self, text):
        return text

    def score(self, features, text):
        pooled = [head(f.mean((2, 3))) for head, f in zip(self.heads, features, strict=True)]
        return self.scale * torch.stack([(p * text).sum(1) for p in pooled], dim=1)


def test_frozen_parts_stay_as_they_were_and_several_scales_and_heads_are_trained():
    pair = Networks(networks().generator, Projected())
    before = copy.deepcopy(pair.discriminator.eye.network.state_dict())
    heads = [head.weight.detach().clone() for head in pair.discriminator.heads]
    found = trainer(pair)
    found.advance(*batch())
    assert not any(torch.equal(old, head.weight) for old, head in zip(heads, pair.discriminator.heads, strict=True))
    assert pair.discriminator.scale == 1 and not pair.discriminator.scale.requires_grad
    for name, value in pair.discriminator.eye.network.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_a_second_stage_leaves_the_first_as_it_was_to_its_batch_statistics():
    pair = networks("stackgan", 128)
    before = copy.deepcopy(pair.generator.first.state_dict())
    old = pair.generator.join[0].weight.detach().clone()
    found = trainer(pair)
    found.advance(*batch(128))
    assert not torch.equal(pair.generator.join[0].weight, old)
    for name, value in pair.generator.first.state_dict().items():
        assert torch.equal(value, before[name]), name
    for name, value in found.ema.network.first.state_dict().items():
        assert torch.allclose(value, before[name]), name


def test_noise_is_fresh_for_each_network_and_each_step_and_decided_by_seed_and_step():
    found, objective = watched()
    for _ in range(2):
        found.advance(*batch())
    again, same = watched()
    again.advance(*batch())
    draws = [draw for data in objective.batches for draw in data.noise]
    assert all(not torch.equal(a, b) for i, a in enumerate(draws) for b in draws[:i])
    assert torch.equal(same.batches[0].noise, objective.batches[0].noise)


def test_an_augmentation_draws_anew_each_time_and_the_same_in_a_run_that_resumes():
    def shifted(pictures, stream):
        return pictures + torch.rand((), generator=stream)

    zeros, seen = torch.zeros(1, 3, 2, 2), []
    for start in (0, 1):
        found, objective = watched(augment=shifted)
        found.step = start
        for _ in range(2 - start):
            found.advance(*batch())
        seen.append([data.augment(zeros).mean().item() for data in objective.batches])
    assert seen[0][0] != seen[0][1] == seen[1][0]


def test_optimizers_are_as_their_mapping_says_and_follow_the_schedule():
    optimizers = {"generator": {"lr": 1e-4, "betas": (0.0, 0.9)}, "discriminator": {"lr": 4e-4, "eps": 1e-7}}
    found = Trainer(networks(), GanCls(), optimizers, CPU, seed=1, ema_half_life=26.0, schedule=lambda step: 0.5**step)
    for factor in (1.0, 0.5):
        found.advance(*batch())
        (generator,), (discriminator,) = (found.optimizers[name].param_groups for name in optimizers)
        assert generator["lr"] == 1e-4 * factor and discriminator["lr"] == 4e-4 * factor
    assert generator["betas"] == (0.0, 0.9) and discriminator["eps"] == 1e-7


def test_the_learning_rate_halves_on_schedule_and_falls_to_zero_at_the_end():
    def factors(steps, **schedule):
        return [learning_rate_factor(step, 100, **schedule) for step in steps]

    assert factors([0, 50, 99]) == [1.0, 1.0, 1.0]
    assert factors([0, 19, 20, 59], halving_steps=20) == [1.0, 1.0, 0.5, 0.25]
    assert factors([0, 75, 80, 90, 99], cooldown=0.25) == pytest.approx([1.0, 1.0, 0.8, 0.4, 0.04])
    assert factors([0, 50, 99], cooldown=1.0) == pytest.approx([1.0, 0.5, 0.01])


@pytest.mark.parametrize("autocast", [None, torch.bfloat16])
@pytest.mark.parametrize("system", ["dcgan", "gan-cls", "stackgan", "projected-dcgan", "textbloom"])
def test_gradients_and_moments_lie_in_memory_as_their_weights_do(system, autocast):
    """A fused optimizer walks through all of them in the order of memory: another layout is another weight's update."""
    found = trainer(networks(system), autocast=autocast)
    found.advance(*batch())
    for optimizer in found.optimizers.values():
        for weight, slots in optimizer.state.items():
            assert weight.grad.stride() == weight.stride()
            assert slots["exp_avg"].stride() == slots["exp_avg_sq"].stride() == weight.stride()


def test_micro_batches_keep_fewer_activations_at_once():
    def held_at_most(count):
        found, now, most = trainer(accumulate=count), 0, 0

        def pack(tensor):
            nonlocal now, most
            now += tensor.numel()
            most = max(most, now)
            return tensor

        update = torch.Tensor.backward

        def backward(loss):
            nonlocal now
            update(loss)
            now = 0  # the graph of a micro-batch is gone after its backward pass

        with pytest.MonkeyPatch.context() as patch, torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
            patch.setattr(torch.Tensor, "backward", backward)
            found.advance(*batch(micro_batches=count))
        return most

    assert held_at_most(3) < 0.6 * held_at_most(1)


def test_a_step_leaves_the_global_random_state_alone():
    found = trainer()
    state = torch.get_rng_state()
    found.advance(*batch())
    assert torch.equal(torch.get_rng_state(), state)


def test_the_average_is_the_recursion_it_claims():
    source = nn.BatchNorm1d(2)
    ema = Ema(source, half_life=0.7)
    expected = source.weight.detach().clone()
    for step in range(6):
        with torch.no_grad():
            source.weight += 1.0
            source.num_batches_tracked += 1
        ema.update(seen=4 * step, pictures=4)
        keep = 0.5 ** (4 / min(0.7, 0.05 * 4 * step)) if step else 0.0
        expected = keep * expected + (1 - keep) * source.weight.detach()
    assert torch.allclose(ema.network.weight, expected)
    assert ema.network.num_batches_tracked == 6


def test_the_average_does_not_depend_on_the_batch_size():
    """A weight that grows with the pictures seen has the same average for steps of any size, up to a step."""
    averages = []
    for pictures in (8, 16):
        source = nn.Linear(1, 1)
        ema = Ema(source, half_life=2000.0)
        for seen in range(0, 80_000, pictures):
            with torch.no_grad():
                source.weight.fill_(seen / 1000)
            ema.update(seen, pictures)
        averages.append(ema.network.weight.item())
    # The mean age is the half-life over ln 2.
    assert averages == pytest.approx([80 - 2 / math.log(2)] * 2, abs=0.02)


def test_batch_statistics_are_those_that_torch_takes_for_an_averaged_network():
    network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2), nn.BatchNorm1d(2)).eval()
    inputs = [(torch.randn(16, 3),) for _ in range(5)]
    expected = copy.deepcopy(network)
    torch.optim.swa_utils.update_bn(inputs, expected)
    recompute_batch_norm(network, inputs)
    for (name, value), other in zip(network.state_dict().items(), expected.state_dict().values(), strict=True):
        assert torch.allclose(value.float(), other.float(), atol=1e-6), name
    assert not any(part.training for part in network.modules())
    assert network[1].momentum == 0.1


def test_batch_statistics_of_a_frozen_first_stage_stay():
    generator = networks("stackgan", 128).generator
    before = copy.deepcopy(generator.state_dict())
    noise, text = torch.randn(4, generator.noise_dim), torch.randn(4, 12)
    recompute_batch_norm(generator, [(noise, text)])
    moved = {name for name, value in generator.state_dict().items() if not torch.equal(value, before[name])}
    assert moved and not [name for name in moved if name.startswith("first.")]
    assert all(name.split(".")[-1] in ("running_mean", "running_var", "num_batches_tracked") for name in moved)


class Penalised(Objective):
    """A hinge loss with a gradient penalty, as a new recipe may have: it needs second derivatives."""

    def discriminator(self, networks, batch):
        d, text = networks.discriminator, networks.discriminator.project(batch.text)
        images = batch.images.clone().requires_grad_()
        real = d.score(d.features(images), text)
        with torch.no_grad():
            fakes = networks.generator(batch.noise[0], batch.text)
        fake = d.score(d.features(fakes), text)
        (slope,) = torch.autograd.grad(real.sum(), images, create_graph=True)
        hinge, penalty = (1 - real).relu().mean() + (1 + fake).relu().mean(), slope.square().sum((1, 2, 3)).mean()
        batch.memo["fakes"] = fakes
        return hinge + 10 * penalty, {"hinge": hinge, "penalty": penalty}

    def generator(self, networks, batch):
        assert batch.memo["fakes"].shape == batch.images.shape
        d = networks.discriminator
        fakes = networks.generator(batch.noise[1], batch.text)
        loss = -d.score(d.features(fakes), d.project(batch.text)).mean()
        return loss, {"adversarial": loss}


@pytest.mark.parametrize("autocast", [None, torch.bfloat16])
@pytest.mark.parametrize("system", ["dcgan", "stackgan", "textbloom"])
def test_an_objective_with_a_gradient_penalty_trains_every_system(system, autocast):
    optimizers = {"generator": ADAM, "discriminator": ADAM}
    found = Trainer(networks(system), Penalised(), optimizers, CPU, seed=1, ema_half_life=26.0, autocast=autocast)
    losses = found.advance(*batch())
    assert list(losses) == ["discriminator", "generator", "d_hinge", "d_penalty", "g_adversarial"]
    assert all(torch.isfinite(value) for value in losses.values()) and losses["d_penalty"] > 0
