"""Train the GAN on the training pairs; resumes where a killed run of the same params, data and code stopped."""

import torch

from textbloom import config, models
from textbloom.core import errors, runtime
from textbloom.core.seeding import seed_for
from textbloom.core.tensors import load_metadata
from textbloom.dataset import prepared
from textbloom.training import distributed, objectives
from textbloom.training.objectives.base import Networks
from textbloom.training.run import Outputs, Settings, run


def main() -> None:
    p = config.load()
    runtime.portable(p.portable)
    runtime.deterministic(p.train.deterministic)
    ranks = distributed.join(p.train.devices)
    data = prepared.load(*config.PREPARED, splits=p.train.split_names)

    size = p.train.size or p.images.size
    network = {"size": size, "embedding_dim": data.embeddings.shape[1], **p.model.model_dump()}
    torch.manual_seed(seed_for(p.seed, "weights"))
    run(
        Networks(*models.build(**network)),
        objectives.build(p.model.name, **p.objective.model_dump()),
        {"network": network, "objective": p.objective.model_dump(), **load_metadata(config.EMBEDDINGS)},
        Settings(section="train", seed=p.seed, **{**p.train.model_dump(exclude={"splits"}), "size": size}),
        data,
        Outputs(config.BASE, config.LOSSES, config.TRAIN_METRICS, config.PROVENANCE / "train.json"),
        ranks,
        resume_root=config.resume_root(),
        files=[config.IMAGES, config.EMBEDDINGS, config.CAPTIONS],
    )


if __name__ == "__main__":
    errors.run(main)
