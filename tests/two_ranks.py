"""What one process and two do alike: run as a program it starts two, which leave what they found as tensor files."""

import sys
from dataclasses import replace
from pathlib import Path

import torch
from test_objectives import CPU, recipe
from test_training import prepared, train
from torch import nn

from textbloom import models
from textbloom.core import errors
from textbloom.core.tensors import save_tensors
from textbloom.dataset.prepared import Pictures
from textbloom.training import launch, loop
from textbloom.training.batch_norm import synchronise
from textbloom.training.data import TrainingPairs
from textbloom.training.trainer import Trainer

BATCH, STEPS = 8, 3
RUNS = {
    "dcgan": {},
    "dcgan accumulated": {"accumulate": 2},
    "stackgan": {"conditioning_kl": 1.0, "matching_aware": False},
    "gan-cls bfloat16": {"autocast": torch.bfloat16},
    "stackgan float64 refined": {"conditioning_kl": 1.0},  # in float32 its depth makes rounding large in three steps
}


def trained(ranks, run):
    """Losses of STEPS steps of a run, the gradients of the first, and all weights before and after."""
    torch.set_default_dtype(torch.float64 if "float64" in run else torch.float32)
    try:
        return _trained(ranks, run)
    finally:
        torch.set_default_dtype(torch.float32)


def _trained(ranks, run):
    torch.manual_seed(1 + ranks.rank)  # unlike first weights, as on unlike processors
    shapes = {"size": 64, "embedding_dim": 12, "noise_dim": 5, "features": 4, "text_projection": 6}
    data = prepared(STEPS * BATCH)
    networks = models.build(run.split()[0], **shapes, discriminator_text=True)
    if run.endswith("refined"):
        networks = models.refine(networks[0], "stackgan", **{**shapes, "size": 128}, discriminator_text=True)
        large = data.images.all().repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
        data = replace(data, images=Pictures(large))
    r = recipe(**RUNS[run])
    trainer = Trainer(*networks, r, CPU, ranks)
    pairs = TrainingPairs(data, BATCH, 7, CPU, ranks=ranks, micro_batches=r.accumulate)
    found = {f"before/{name}": value for name, value in state(trainer).items()}
    for step, batch in enumerate(pairs.epoch(0)):
        found[f"losses/{step}"] = trainer.advance(*(values.to(torch.get_default_dtype()) for values in batch))
        if step == 0:
            weights = [*trainer.generator.named_parameters(), *trainer.discriminator.named_parameters()]
            found |= {f"gradient/{i} {n}": w.grad.clone() for i, (n, w) in enumerate(weights) if w.requires_grad}
    return found | {f"after/{name}": value for name, value in state(trainer).items()}


def state(trainer):
    networks = {"G": trainer.generator, "D": trainer.discriminator, "EMA": trainer.ema.network}
    return {f"{n}.{key}": v.clone() for n, network in networks.items() for key, v in network.state_dict().items()}


def normalised(ranks, dims):
    """Batch norm of this rank's share in float64: output, running statistics, gradients of a random weighted sum."""
    stream = torch.Generator().manual_seed(4)
    shape = (6, 5, 3, 2)[:dims]
    x, sought = (
        ranks.share(torch.randn(shape, generator=stream, dtype=torch.float64) * 3 + 1, 1).requires_grad_()
        for _ in range(2)
    )
    network = nn.Sequential((nn.BatchNorm1d if dims == 2 else nn.BatchNorm2d)(5)).double()
    with torch.no_grad():
        network[0].weight.copy_(torch.arange(1.0, 6.0))
    synchronise(network, ranks, CPU)
    y = network(x)
    (y.square() * sought.detach()).sum().backward()
    found = {"y": y, "x.grad": x.grad, "weight.grad": network[0].weight.grad, "bias.grad": network[0].bias.grad}
    return {**found, **network.state_dict(), "in evaluation": network.eval()(x)}


def rolled(ranks):
    rows = ranks.share(torch.arange(12.0).view(6, 2), 1).requires_grad_()
    out = ranks.neighbours(rows)
    (out * ranks.share(torch.arange(6.0), 1)[:, None]).sum().backward()
    return {"out": out, "gradient": rows.grad}


def resumed(ranks, folder):
    """A run of three epochs, and one that was stopped in its middle and went on: weights, losses and pictures."""
    loop.SAVE_SECONDS, loop.LOOK_STEPS = -1, 1

    def stop(step):
        if step == 4:
            raise InterruptedError

    found = {}
    whole = train(folder / "whole", ranks=ranks)
    try:
        train(folder / "cut", ranks=ranks, after_step=stop)
    except InterruptedError:
        ranks.agree(0, CPU, "")  # or one rank would go on while the other has yet to write
    again = train(folder / "cut", ranks=ranks)
    for name, (trainer, log) in {"whole": whole, "again": again}.items():
        found |= {f"{name}/{key}": value for key, value in state(trainer).items()}
        found |= {f"{name}/losses": torch.tensor(log.losses), f"{name}/sheets": log.sheets}
    return found | {"steps": torch.tensor(again[1].steps_here)}


def main():
    ranks = launch.join(2)
    folder = Path(sys.argv[1])
    found = {f"batch norm {dims}": normalised(ranks, dims) for dims in (2, 4)}
    found |= {"rolled": rolled(ranks), "resumed": resumed(ranks, folder / "states")}
    found |= {run: trained(ranks, run) for run in RUNS}
    for name, tensors in found.items():
        save_tensors(folder / f"{name} {ranks.rank}.safetensors", tensors)


if __name__ == "__main__":
    errors.run(main)
