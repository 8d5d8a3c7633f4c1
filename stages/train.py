"""Train the GAN on the training pairs; resumes where a killed run of the same params, data and code stopped."""

import os
from pathlib import Path

import torch

from textbloom import devices, errors, models, params, paths, prepared, provenance
from textbloom.files import write_json
from textbloom.seeding import generator_for, seed_for
from textbloom.tensors import load_metadata, save_tensors
from textbloom.training import loop, state
from textbloom.training.data import TrainingPairs
from textbloom.training.generator import save_networks
from textbloom.training.report import summary, write_losses
from textbloom.training.trainer import Recipe, Trainer

SHOWN = 8  # captions on the progress sheet


def main() -> None:
    p = params.load()
    device = devices.device()
    data = prepared.load(paths.CAPTIONS, paths.IMAGES, paths.IMAGE_IDS, paths.EMBEDDINGS, ("train", "val"))
    pairs = TrainingPairs(data, p.train.batch_size, p.seed, device)

    network = {"size": p.images.size, "embedding_dim": pairs.embedding_dim, **p.model.model_dump()}
    torch.manual_seed(seed_for(p.seed, "weights"))
    generator, discriminator = models.build(**network)
    recipe = Recipe(
        seed=p.seed,
        lr=p.train.lr,
        beta1=p.train.beta1,
        beta2=p.train.beta2,
        ema_decay=p.train.ema_decay,
        autocast=devices.autocast_dtype(p.train.precision, device),
        **p.objective.model_dump(),
    )
    trainer = Trainer(generator, discriminator, recipe, device)

    shown = torch.randperm(len(data), generator=generator_for(p.seed, "progress captions"))[:SHOWN]
    noise = torch.randn(len(shown), p.model.noise_dim, generator=generator_for(p.seed, "progress noise"))
    settings = [p.seed, network, p.objective.model_dump(), p.train.model_dump(), str(device), torch.__version__]
    package = Path(models.__file__).parents[1]
    code = [file for part in (".", "models", "training") for file in sorted((package / part).glob("*.py"))]
    run = state.fingerprint(settings, [paths.IMAGES, paths.EMBEDDINGS, paths.CAPTIONS, Path(__file__), *code])
    folder = Path(os.environ.get("DVC_ROOT", ".")) / paths.RESUME / run
    with state.held(folder):
        log = loop.train(
            trainer,
            pairs,
            loop.Fixed(noise, data.first_embeddings[shown]),
            epochs=p.train.epochs,
            grid_every=p.train.grid_every,
            folder=folder,
        )
        config = {"network": network, **load_metadata(paths.EMBEDDINGS)}
        save_networks(paths.MODELS, trainer.generator, trainer.ema.network, trainer.discriminator, config)
        write_losses(paths.LOSSES, log.losses)
        captions = [data.first_captions[i] for i in shown.tolist()]
        save_tensors(paths.PROGRESS, {"pictures": log.sheets}, {"epochs": log.sheet_epochs, "captions": captions})
        write_json(paths.TRAIN_METRICS, summary(trainer, pairs, log))
        speed = log.steps_here * p.train.batch_size / log.seconds
        provenance.record(paths.PROVENANCE / "train.json", seconds=log.seconds, images_per_second=speed)
    state.forget(folder)


if __name__ == "__main__":
    errors.run(main)
