"""One training run from data to files: networks, losses, progress pictures, all resumable."""

import hashlib
import sys
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from textbloom.core import paths, resume, runtime
from textbloom.core.files import replacing, write_json
from textbloom.core.seeding import generator_for
from textbloom.core.tensors import load_metadata, save_tensors
from textbloom.dataset.prepared import Prepared
from textbloom.models.interfaces import Discriminator, Generator
from textbloom.sampling.generator import save_networks
from textbloom.training import finished, loop, state
from textbloom.training.data import TrainingPairs
from textbloom.training.ranks import Ranks
from textbloom.training.report import summary, write_losses
from textbloom.training.trainer import Recipe, Trainer

SHOWN = 8  # captions on the progress sheet


@dataclass(frozen=True)
class Plan:
    """How long a run is and at which picture size S it works.

    section: the section of params.yaml that says so, for errors to name.
    flips: whether pictures are mirrored at random.
    warm_start: go on from the longest kept finished run that differs in nothing but fewer epochs; None: from nothing,
        and no later run goes on from this one.
    """

    section: str
    size: int
    epochs: int
    batch_size: int
    grid_every: int
    flips: bool
    warm_start: bool | None = None


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
    weights: Sequence[Path] = (),
) -> None:
    """Train `networks`, built from `config`, or go on where a killed run of the same config, data and code stopped.

    `weights`: files of what was trained before and is part of the networks. Each of `ranks` calls this with the same
    arguments; the first alone holds the run's folder and writes.
    """
    pairs = TrainingPairs(
        data, plan.batch_size, recipe.seed, device, plan.size, ranks, recipe.accumulate, plan.section, plan.flips
    )
    trainer = Trainer(*networks, recipe, device, ranks)
    shown = torch.randperm(len(data), generator=generator_for(recipe.seed, "progress captions"))[:SHOWN]
    stream = generator_for(recipe.seed, "progress noise")
    noise = torch.randn(len(shown), trainer.generator.noise_dim, generator=stream)
    lineage = _lineage(config, recipe, plan, data, weights, device, ranks)
    folder = resume.resume_folder(paths.main_workspace(paths.RESUME), [lineage, plan.epochs, plan.warm_start], [], [])
    with resume.lock(folder) if ranks.first else nullcontext():
        log = loop.train(
            trainer,
            pairs,
            loop.Fixed(noise, data.first_embeddings[shown]),
            epochs=plan.epochs,
            grid_every=plan.grid_every,
            folder=folder,
            section=plan.section,
            start=_start(lineage, plan, folder, ranks) if plan.warm_start else None,
        )
        if not ranks.first:
            return
        parent = {"parent": log.parent} if log.parent else {}
        everything = {**config, **load_metadata(paths.EMBEDDINGS), **parent}
        notes = {"epochs": log.sheet_epochs, "captions": [data.first_captions[i] for i in shown.tolist()]}
        with replacing(outputs.networks) as made:
            save_networks(made, trainer.generator, trainer.ema.network, trainer.discriminator, everything)
            save_tensors(made / paths.PROGRESS, {"pictures": log.sheets}, notes)
            write_losses(made / paths.HISTORY, log.losses)
        write_losses(outputs.losses, log.losses)
        write_json(outputs.metrics, summary(trainer, pairs, log) | parent)
        if log.steps_here:  # else a killed run had trained to the end and left only the outputs to write
            speed = log.steps_here * plan.batch_size / log.seconds
            runtime.record_provenance(outputs.provenance, seconds=log.seconds, images_per_second=speed)
        if plan.warm_start is not None:
            finished.keep(state.file(folder), lineage, plan.epochs)
        resume.remove(folder)


def _start(lineage: str, plan: Plan, folder: Path, ranks: Ranks) -> loop.Start | None:
    """The finished run that a warm start goes on from; what is found is told on stderr."""
    if state.file(folder).exists():
        return None
    found = finished.longest(lineage, plan.epochs)
    said = (
        f"going on after the {found[1]} epochs of {found[0]}"
        if found
        else f"no finished run of the same settings, data and code with fewer than {plan.epochs} epochs is kept in "
        f"{finished.folder()}: starting from nothing"
    )
    if ranks.first:
        print(f"{plan.section}.warm_start: {said}", file=sys.stderr)
    return loop.Start(found[0], {"fingerprint": lineage, "epochs": found[1]}) if found else None


def _lineage(
    config: Mapping[str, Any],
    recipe: Recipe,
    plan: Plan,
    data: Prepared,
    weights: Sequence[Path],
    device: torch.device,
    ranks: Ranks,
) -> str:
    """A name for all that decides a run but its number of epochs."""
    settings = [
        config,
        {**asdict(recipe), "autocast": str(recipe.autocast)},
        {**asdict(plan), "epochs": None, "warm_start": None},
        hashlib.sha256(data.image_ids.tobytes()).hexdigest(),
        [*runtime.arithmetic(device), ranks.world],
    ]
    files = [paths.IMAGES, paths.EMBEDDINGS, paths.CAPTIONS, *weights]
    return resume.resume_folder(Path(), settings, files, ["training", "models", "dataset", "core"]).name
