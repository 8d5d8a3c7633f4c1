"""Train the GAN on the training pairs; resumes where a killed run of the same params, data and code stopped."""

import torch

from textbloom import config, models
from textbloom.core import runtime
from textbloom.core.seeding import seed_for
from textbloom.core.tensors import load_metadata
from textbloom.dataset import prepared
from textbloom.features import efficientnet, extractor
from textbloom.models.base import Frozen
from textbloom.training import distributed, objectives, validation
from textbloom.training.objectives.base import Networks
from textbloom.training.run import Outputs, Settings, run


def main(p: config.Params) -> None:
    runtime.portable(p.portable)
    runtime.deterministic(p.train.deterministic)
    ranks = distributed.join(p.train.devices)
    data = prepared.load(*config.PREPARED, splits=p.train.split_names)

    size = p.train.size or p.images.size
    held_out = None
    if p.train.evaluate_every is not None:
        seen = validation.choose(prepared.load(*config.PREPARED, splits=["val"]), p.seed).at(size)
        by = extractor.load(p.train.evaluate_extractor, weights=None, layer=None)
        held_out = validation.Validation(
            seen.first_embeddings,
            lambda pictures: by(pictures, "generated pictures", hidden=True).features,
            by(seen.images.all(), "val pictures").features,
            {"name": by.name, "sha256": by.sha256},
        )
    # What the backbone was stands in config.json under `pretrained`: a generator alone is built without it.
    shape = {"size": size, "embedding_dim": data.embeddings.shape[1]}
    network = {**shape, **p.model.model_dump(exclude={"backbone", "text_basis"})}
    backbone = None
    if p.model.backbone is not None:
        scales, sha256 = efficientnet.scales(p.model.backbone)
        backbone = Frozen(scales, p.model.backbone, sha256)
    torch.manual_seed(seed_for(p.seed, "weights"))
    generator, discriminator = models.build(**network, backbone=backbone)
    if p.model.text_basis == "colours":
        models.fit_text(generator, discriminator, data.first_embeddings, data.images.at(size).all())
    else:
        models.fit_text(generator, discriminator, data.embeddings)
    run(
        Networks(generator, discriminator),
        objectives.build(p.model.name, **p.objective.model_dump()),
        {"network": network, "objective": p.objective.model_dump(), **load_metadata(config.EMBEDDINGS)},
        Settings(section="train", seed=p.seed, **{**p.train.model_dump(exclude={"splits"}), "size": size}),
        data,
        Outputs(config.BASE, config.LOSSES, config.TRAIN_METRICS, config.PROVENANCE / "train.json", config.VALIDATION),
        ranks,
        confirm=lambda: config.confirm(p),
        resume_root=config.resume_root(),
        files=[config.IMAGES, config.EMBEDDINGS, config.CAPTIONS],
        held_out=held_out,
    )


if __name__ == "__main__":
    config.run(main)
