"""Train the second stage of a system that has one, on the frozen generator of the first; resumes as training does."""

import torch

from textbloom import config, models
from textbloom.core import runtime, trained_folder
from textbloom.core.seeding import seed_for
from textbloom.core.tensors import load_metadata
from textbloom.dataset import prepared
from textbloom.training import distributed, objectives
from textbloom.training.objectives.base import Networks
from textbloom.training.run import Outputs, Settings, run


def main(p: config.Params) -> None:
    runtime.portable(p.portable)
    runtime.deterministic(p.train.deterministic)
    ranks = distributed.join(p.train.devices)
    data = prepared.load(*config.PREPARED, splits=p.train.split_names)

    first, of_first = trained_folder.load_generator(config.BASE, "ema", models.generator_of)
    network = {**of_first["network"], "size": p.images.size}
    torch.manual_seed(seed_for(p.seed, "refiner weights"))
    # What `refine` does not say is as in `train`, but for the discriminator's learning rate, which is refine.lr too.
    settings = {
        **p.train.model_dump(exclude={"splits"}),
        "discriminator_lr": None,
        "evaluate_every": None,
        **p.refine.model_dump(exclude={"to"}),
        "size": p.images.size,
    }
    run(
        Networks(*models.refine(first, **network)),
        objectives.build(network["name"], **p.objective.model_dump()),
        {
            "network": network,
            "first": of_first["network"],
            "pretrained": of_first["pretrained"],
            "objective": p.objective.model_dump(),
            **load_metadata(config.EMBEDDINGS),
        },
        Settings(section="refine", seed=seed_for(p.seed, "refine"), **settings),
        data,
        Outputs(config.REFINED, config.REFINE_LOSSES, config.REFINE_METRICS, config.PROVENANCE / "refine.json"),
        ranks,
        confirm=lambda: config.confirm(p),
        resume_root=config.resume_root(),
        files=[config.IMAGES, config.EMBEDDINGS, config.CAPTIONS, config.BASE / trained_folder.GENERATOR_EMA],
    )


if __name__ == "__main__":
    config.run(main)
