"""One training run from data to files: networks, losses, progress pictures, all resumable."""

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

import textbloom
from textbloom import paths, provenance, run_folder
from textbloom.files import replacing, write_json
from textbloom.models.interfaces import Discriminator, Generator
from textbloom.prepared import Prepared
from textbloom.seeding import generator_for
from textbloom.tensors import load_metadata, save_tensors
from textbloom.training import loop
from textbloom.training.data import TrainingPairs
from textbloom.training.generator import save_networks
from textbloom.training.ranks import Ranks
from textbloom.training.report import summary, write_losses
from textbloom.training.trainer import Recipe, Trainer

SHOWN = 8  # captions on the progress sheet


@dataclass(frozen=True)
class Plan:
    """How long a run is and at which picture size S it works."""

    size: int
    epochs: int
    batch_size: int
    grid_every: int


@dataclass(frozen=True)
class Outputs:
    """Where a run leaves its networks, loss curve, summary, and the facts of the machine."""

    networks: Path
    losses: Path
    metrics: Path
    provenance: Path


def run(
    networks: tuple[Generator, Discriminator],
    config: Mapping[str, Any],
    recipe: Recipe,
    plan: Plan,
    data: Prepared,
    outputs: Outputs,
    device: torch.device,
    ranks: Ranks,
) -> None:
    """Train `networks`, built from `config`, or go on where a killed run of the same config, data and code stopped.

    Each of `ranks` calls this with the same arguments; the first alone holds the run's folder and writes.
    """
    pairs = TrainingPairs(data, plan.batch_size, recipe.seed, device, plan.size, ranks, recipe.accumulate)
    trainer = Trainer(*networks, recipe, device, ranks)
    shown = torch.randperm(len(data), generator=generator_for(recipe.seed, "progress captions"))[:SHOWN]
    stream = generator_for(recipe.seed, "progress noise")
    noise = torch.randn(len(shown), trainer.generator.noise_dim, generator=stream)
    folder = _run_folder(config, recipe, plan, device, ranks)
    with run_folder.held(folder) if ranks.first else nullcontext():
        log = loop.train(
            trainer,
            pairs,
            loop.Fixed(noise, data.first_embeddings[shown]),
            epochs=plan.epochs,
            grid_every=plan.grid_every,
            folder=folder,
        )
        if not ranks.first:
            return
        everything = {**config, **load_metadata(paths.EMBEDDINGS)}
        notes = {"epochs": log.sheet_epochs, "captions": [data.first_captions[i] for i in shown.tolist()]}
        with replacing(outputs.networks) as made:
            save_networks(made, trainer.generator, trainer.ema.network, trainer.discriminator, everything)
            save_tensors(made / paths.PROGRESS, {"pictures": log.sheets}, notes)
            write_losses(made / paths.HISTORY, log.losses)
        write_losses(outputs.losses, log.losses)
        write_json(outputs.metrics, summary(trainer, pairs, log))
        speed = log.steps_here * plan.batch_size / log.seconds
        provenance.record(outputs.provenance, seconds=log.seconds, images_per_second=speed)
    run_folder.forget(folder)


def _run_folder(config: Mapping[str, Any], recipe: Recipe, plan: Plan, device: torch.device, ranks: Ranks) -> Path:
    settings = [config, {**asdict(recipe), "autocast": str(recipe.autocast)}, asdict(plan), str(device), ranks.world]
    package = Path(textbloom.__file__).parent
    code = [file for part in (".", "models", "training") for file in sorted((package / part).glob("*.py"))]
    data = [paths.IMAGES, paths.EMBEDDINGS, paths.CAPTIONS]
    return run_folder.of([*settings, torch.__version__], [*data, *code])
