"""A batch in micro-batches: the mean of their gradients and losses, each by itself as published."""

import copy

import pytest
import torch
import yaml
from test_objectives import CPU, batch, networks, recipe, three_pass_losses
from test_params import DEFAULT
from test_training import prepared

from textbloom import config
from textbloom.core.errors import UserError
from textbloom.core.seeding import generator_for
from textbloom.training.data import TrainingPairs
from textbloom.training.ranks import Ranks
from textbloom.training.trainer import TERMS, Trainer


@pytest.mark.parametrize("count", [2, 3])
def test_accumulated_gradients_and_losses_are_the_means_of_the_micro_batches(count):
    images, text = batch()
    generator, discriminator = networks()
    r = recipe(accumulate=count)
    trainer = Trainer(copy.deepcopy(generator), copy.deepcopy(discriminator), r, CPU)
    losses = dict(zip(TERMS, trainer.advance(images, text).tolist(), strict=True))

    noises = torch.randn(2, 6, 5, generator=generator_for(r.seed, "noise", 0))
    micro = list(zip(images.chunk(count), text.chunk(count), noises.chunk(count, dim=1), strict=True))

    def mean_loss(which):
        return sum(three_pass_losses(generator, discriminator, *part, r)[which] for part in micro) / count

    d_loss = mean_loss(0)
    gradients = {discriminator: torch.autograd.grad(d_loss, list(discriminator.parameters()))}
    adam = torch.optim.Adam(discriminator.parameters(), lr=r.lr, betas=(r.beta1, r.beta2))
    for weights, gradient in zip(discriminator.parameters(), gradients[discriminator], strict=True):
        weights.grad = gradient
    adam.step()
    g_loss = sum(three_pass_losses(generator, discriminator, *part, r)[1]() for part in micro) / count
    gradients[generator] = torch.autograd.grad(g_loss, list(generator.parameters()))

    assert losses["discriminator"] == pytest.approx(d_loss.item(), rel=1e-5)
    assert losses["generator"] == pytest.approx(g_loss.item(), rel=1e-5)
    for ours, theirs in ((trainer.generator, generator), (trainer.discriminator, discriminator)):
        for weights, gradient in zip(ours.parameters(), gradients[theirs], strict=True):
            tolerance = 1e-4 * max(1.0, gradient.abs().max().item())
            assert torch.allclose(weights.grad, gradient, rtol=1e-3, atol=tolerance)


def test_micro_batches_keep_fewer_activations_at_once():
    images, text = batch()

    def held_at_most(count):
        trainer, now, most = Trainer(*networks(), recipe(accumulate=count), CPU), 0, 0

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
            trainer.advance(images, text)
        return most

    assert held_at_most(3) < 0.6 * held_at_most(1)


@pytest.mark.parametrize(("world", "micro_batches"), [(1, 1), (2, 1), (3, 1), (1, 2), (2, 2), (2, 3)])
def test_ranks_share_out_each_micro_batch_of_one_processes_batch(world, micro_batches):
    data, size = prepared(26), 12

    def texts(ranks):
        return [t for _, t in TrainingPairs(data, size, 7, CPU, ranks=ranks, micro_batches=micro_batches).epoch(0)]

    whole = texts(Ranks())
    parts = [texts(Ranks(rank, world)) for rank in range(world)]
    for step, batch_of_all in enumerate(whole):
        pieces = [part[step].chunk(micro_batches) for part in parts]
        again = torch.cat([piece[micro] for micro in range(micro_batches) for piece in pieces])
        assert torch.equal(again, batch_of_all)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"batch_size": 63, "devices": 2}, r"train\.batch_size: 63 .* train\.devices \(2\)"),
        ({"batch_size": 66, "accumulate": 4}, r"train\.batch_size: 66 .* train\.accumulate \(4\)"),
        ({"batch_size": 64, "devices": 32, "accumulate": 4}, r"train\.devices \(32\) .* train\.accumulate \(4\)"),
        ({"batch_size": 4, "accumulate": 4}, r"train\.accumulate: 4 leaves single pictures"),
    ],
)
def test_a_batch_that_cannot_be_shared_names_the_keys(changes, told):
    values = yaml.safe_load(DEFAULT)
    values["train"].update(changes)
    with pytest.raises(UserError, match=told):
        config.parse(yaml.safe_dump(values), "params.yaml")


def test_the_second_stage_shares_its_own_batch():
    values = yaml.safe_load(DEFAULT)
    values["images"]["size"], values["refine"]["to"], values["train"]["size"] = 128, [128], 64
    values["train"]["devices"], values["refine"]["batch_size"] = 4, 42
    with pytest.raises(UserError, match=r"refine\.batch_size: 42 .* train\.devices \(4\)"):
        config.parse(yaml.safe_dump(values), "params.yaml")
