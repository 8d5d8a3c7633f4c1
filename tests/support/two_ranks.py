"""What one process and two do alike: run as a program it starts two, which leave what they found as tensor files."""

import sys
from pathlib import Path

import torch
from torch import nn

from support.tiny_training import CPU, SEED, networks, prepared, train, trainer
from textbloom.core import errors
from textbloom.core.tensors import save_tensors
from textbloom.training import distributed, loop
from textbloom.training.batches import Batches
from textbloom.training.distributed import synchronise_batch_norm

BATCH, STEPS = 8, 2
RUNS = {
    "dcgan accumulated": {"accumulate": 2},
    "stackgan": {"objective": {"conditioning_kl": 1.0, "matching_aware": False}},
    "gan-cls bfloat16": {"autocast": torch.bfloat16},
    # In float32 its depth makes the rounding of three steps large.
    "stackgan float64 refined": {"objective": {"conditioning_kl": 1.0}},
}


def trained(ranks, run):
    """Losses of STEPS steps of a run, the gradients of the first, and all weights before and after."""
    torch.set_default_dtype(torch.float64 if "float64" in run else torch.float32)
    try:
        return _trained(ranks, run)
    finally:
        torch.set_default_dtype(torch.float32)


def _trained(ranks, run):
    size = 128 if run.endswith("refined") else 64
    pair = networks(run.split()[0], size)
    if not ranks.first:  # as on another processor, its first weights are not quite the same
        for network in (pair.generator, pair.discriminator):
            for weight in network.parameters():
                weight.data *= 1.01
    found_by = trainer(pair, CPU, ranks, **RUNS[run])
    batches = Batches(
        prepared(STEPS * BATCH, size=size), BATCH, SEED, CPU, ranks=ranks, micro_batches=found_by.accumulate
    )
    found = {f"before/{name}": value for name, value in state(found_by).items()}
    for step, batch in enumerate(batches.epoch(0)):
        images, text, wrong = batch
        wide = torch.get_default_dtype()
        losses = found_by.advance(images.to(wide), text.to(wide), wrong)
        found[f"losses/{step}"] = torch.stack(list(losses.values()))
        if step == 0:
            weights = [*pair.generator.named_parameters(), *pair.discriminator.named_parameters()]
            found |= {f"gradient/{i} {n}": w.grad.clone() for i, (n, w) in enumerate(weights) if w.requires_grad}
    return found | {f"after/{name}": value for name, value in state(found_by).items()}


def state(found_by):
    return {
        f"{name}.{key}": value.clone()
        for name, network in found_by.modules().items()
        for key, value in network.state_dict().items()
    }


def normalised(ranks, dims, affine=True):
    """Batch norm of this rank's share in float64: output, running statistics, gradients of a random weighted sum."""
    stream = torch.Generator().manual_seed(4)
    shape = (6, 5, 3, 2)[:dims]
    x, sought = (
        ranks.share(torch.randn(shape, generator=stream, dtype=torch.float64) * 3 + 1, 1).requires_grad_()
        for _ in range(2)
    )
    network = nn.Sequential((nn.BatchNorm1d if dims == 2 else nn.BatchNorm2d)(5, affine=affine)).double()
    if affine:
        nn.init.trunc_normal_(network[0].weight, generator=torch.Generator().manual_seed(5))
    synchronise_batch_norm(network, ranks, CPU)
    y = network(x)
    (y.square() * sought.detach()).sum().backward()
    found = {"y": y, "x.grad": x.grad}
    found |= {f"{name}.grad": weight.grad for name, weight in network[0].named_parameters() if weight is not None}
    return {**found, **network.state_dict(), "in evaluation": network.eval()(x)}


def picked(ranks):
    """Some rows of the global batch, one of them twice, and both derivatives of a sum of their cubes."""
    rows = ranks.share(torch.arange(12.0).view(6, 2), 1).requires_grad_()
    out = ranks.pick(rows, ranks.share(torch.tensor([3, 0, 5, 3, 1, 4]), 1))
    (first,) = torch.autograd.grad((out**3 * ranks.share(torch.arange(6.0), 1)[:, None]).sum(), rows, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), rows)
    return {"out": out, "first": first, "second": second}


def resumed(ranks, folder):
    """A run of three epochs, and one that was stopped in its middle and went on: weights, losses and pictures."""
    loop.SAVE_SECONDS, loop.LOG_STEPS = -1, 1

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
    for name, (found_by, log) in {"whole": whole, "again": again}.items():
        found |= {f"{name}/{key}": value for key, value in state(found_by).items()}
        losses = [[row[term] for term in sorted(row)] for row in log.losses]
        found |= {f"{name}/losses": torch.tensor(losses), f"{name}/sheets": log.sheets}
    return found | {"steps": torch.tensor(again[1].steps_here)}


def main():
    ranks = distributed.join(2)
    folder = Path(sys.argv[1])
    found = {f"batch norm {dims} {affine}": normalised(ranks, dims, affine) for dims in (2, 4) for affine in (0, 1)}
    found |= {"picked": picked(ranks), "resumed": resumed(ranks, folder / "states")}
    found |= {run: trained(ranks, run) for run in RUNS}
    for name, tensors in found.items():
        save_tensors(folder / f"{name} {ranks.rank}.safetensors", tensors)


if __name__ == "__main__":
    errors.run(main)
