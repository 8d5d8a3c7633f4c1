"""Train the second stage of a system that has one, on the frozen generator of the first; resumes as training does."""

import torch

from textbloom import config, models
from textbloom.core import errors, paths, runtime
from textbloom.core.seeding import seed_for
from textbloom.dataset import prepared
from textbloom.sampling.generator import load_generator
from textbloom.training import launch, session
from textbloom.training.trainer import Recipe


def main() -> None:
    p = config.load()
    runtime.portable(p.portable)
    runtime.deterministic(p.train.deterministic)
    ranks = launch.join(p.train.devices)
    device = runtime.device()
    data = prepared.load(*config.PREPARED, splits=p.train.split_names)

    first = load_generator(config.BASE, "ema")
    network = {**first.config["network"], "size": p.images.size}
    torch.manual_seed(seed_for(p.seed, "refiner weights"))
    networks = models.refine(first.network, **network)
    recipe = Recipe(
        seed=seed_for(p.seed, "refine"),
        lr=p.refine.lr,
        lr_halving=p.refine.lr_halving,
        beta1=p.train.beta1,
        beta2=p.train.beta2,
        ema_decay=p.train.ema_decay,
        autocast=runtime.autocast_dtype(p.train.precision, device),
        accumulate=p.refine.accumulate,
        **p.objective.model_dump(),
    )
    plan = session.Plan(
        "refine", p.images.size, p.refine.epochs, p.refine.batch_size, p.refine.grid_every, p.train.flips
    )
    outputs = session.Outputs(
        config.REFINED, config.REFINE_LOSSES, config.REFINE_METRICS, config.PROVENANCE / "refine.json"
    )
    description = {"network": network, "first": first.config["network"]}
    weights = [config.BASE / paths.GENERATOR_EMA]
    session.run(networks, description, recipe, plan, data, outputs, device, ranks, weights)


if __name__ == "__main__":
    errors.run(main)
