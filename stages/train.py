"""Train the GAN on the training pairs; resumes where a killed run of the same params, data and code stopped."""

import torch

from textbloom import config, models
from textbloom.core import errors, runtime
from textbloom.core.seeding import seed_for
from textbloom.dataset import prepared
from textbloom.training import launch, session
from textbloom.training.trainer import Recipe


def main() -> None:
    p = config.load()
    runtime.portable(p.portable)
    runtime.deterministic(p.train.deterministic)
    ranks = launch.join(p.train.devices)
    device = runtime.device()
    data = prepared.load(*config.PREPARED, splits=p.train.split_names)

    size = p.train.size or p.images.size
    network = {"size": size, "embedding_dim": data.embeddings.shape[1], **p.model.model_dump()}
    torch.manual_seed(seed_for(p.seed, "weights"))
    networks = models.build(**network)
    recipe = Recipe(
        seed=p.seed,
        lr=p.train.lr,
        lr_halving=p.train.lr_halving,
        beta1=p.train.beta1,
        beta2=p.train.beta2,
        ema_decay=p.train.ema_decay,
        autocast=runtime.autocast_dtype(p.train.precision, device),
        accumulate=p.train.accumulate,
        **p.objective.model_dump(),
    )
    plan = session.Plan(
        "train", size, p.train.epochs, p.train.batch_size, p.train.grid_every, p.train.flips, p.train.warm_start
    )
    outputs = session.Outputs(config.BASE, config.LOSSES, config.TRAIN_METRICS, config.PROVENANCE / "train.json")
    session.run(networks, {"network": network}, recipe, plan, data, outputs, device, ranks)


if __name__ == "__main__":
    errors.run(main)
