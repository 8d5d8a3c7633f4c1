"""One training run from data to files, resumable at any moment: what the train and the refine stage both do."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from textbloom.core import resume, runtime, trained_folder
from textbloom.core.files import replacing, write_json, write_text
from textbloom.core.seeding import generator_for
from textbloom.core.tensors import save_tensors
from textbloom.dataset.prepared import Prepared
from textbloom.models.base import pretrained
from textbloom.training import augmentation, loop
from textbloom.training.batches import Batches
from textbloom.training.distributed import Ranks, one_line_for_a_lost_process
from textbloom.training.ema import recompute_batch_norm
from textbloom.training.loop import Log, ProgressInputs
from textbloom.training.objectives.base import Networks, Objective
from textbloom.training.trainer import Trainer, learning_rate_factor

SHOWN = 8  # captions on the progress sheet
STATISTICS = 32  # batches over which the averaged generator's batch statistics are taken
ROOMS = ("training", "models", "features", "dataset", "core")  # whose code decides what a run gives


@dataclass(frozen=True)
class Settings:
    """How a run trains. The fields are keys of `train`, or of `refine`, in params.yaml, which explains them.

    section: which of the two, for errors to name.
    size: the side S of the pictures in pixels at which it works.
    """

    section: str
    seed: int
    size: int
    epochs: int
    batch_size: int
    lr: float
    discriminator_lr: float | None
    lr_halving: int | None
    lr_cooldown: float
    beta1: float
    beta2: float
    ema_half_life: float
    precision: str
    grid_every: int
    flips: bool
    augment: str
    devices: int
    deterministic: bool
    accumulate: int


@dataclass(frozen=True)
class Outputs:
    """Where a run leaves its networks, loss curves, summary, and the facts of the machine."""

    networks: Path
    losses: Path
    metrics: Path
    provenance: Path


def run(
    networks: Networks,
    objective: Objective,
    config: Mapping[str, Any],
    settings: Settings,
    data: Prepared,
    outputs: Outputs,
    ranks: Ranks,
    *,
    resume_root: Path,
    files: Sequence[Path],
) -> None:
    """Train `networks`, or go on where a killed run of the same arguments, data and code stopped.

    Each of `ranks` calls this with the same arguments; the first alone locks the run's folder and writes.

    Args:
        config: what the trained folder's config.json shall hold; it describes networks, objective and text encoder.
        resume_root: the folder in which unfinished runs keep their state.
        files: all files that decide the run, beside its arguments.
    """
    device = runtime.device()
    batches = Batches(
        data,
        settings.batch_size,
        settings.seed,
        device,
        settings.size,
        ranks,
        settings.accumulate,
        settings.section,
        settings.flips,
    )
    trainer = _trainer(networks, objective, settings, device, ranks, batches.steps_per_epoch)
    shown = torch.randperm(len(data), generator=generator_for(settings.seed, "progress captions"))[:SHOWN]
    stream = generator_for(settings.seed, "progress noise")
    inputs = ProgressInputs(
        noise=torch.randn(len(shown), networks.generator.noise_dim, generator=stream),
        text=data.first_embeddings[shown],
        captions=[data.first_captions[i] for i in shown.tolist()],
    )
    decides = [config, asdict(settings), hashlib.sha256(data.image_ids.tobytes()).hexdigest()]
    folder = resume.resume_folder(resume_root, [*decides, *runtime.arithmetic(device), ranks.world], files, ROOMS)
    with one_line_for_a_lost_process(ranks), resume.lock(folder) if ranks.first else nullcontext():
        log = loop.train(
            trainer,
            batches,
            inputs,
            epochs=settings.epochs,
            grid_every=settings.grid_every,
            folder=folder,
            section=settings.section,
        )
        recompute_batch_norm(
            trainer.ema.network, _generator_inputs(data, settings, networks.generator.noise_dim, device)
        )
        if not ranks.first:
            return
        # A second stage learned from the networks of the first one too.
        own = pretrained(networks.generator, networks.discriminator)
        learned_from = {"pretrained": [*config.get("pretrained", []), *own]}
        notes = {"epochs": log.sheet_epochs, "captions": inputs.captions}
        with replacing(outputs.networks) as made:
            trained_folder.save_networks(
                made, networks.generator, trainer.ema.network, networks.discriminator, {**config, **learned_from}
            )
            save_tensors(made / trained_folder.PROGRESS, {"pictures": log.sheets}, notes)
            write_losses(made / trained_folder.LOSSES, log.losses)
        write_losses(outputs.losses, log.losses)
        write_json(outputs.metrics, summary(trainer, batches, log))
        if log.steps_here:  # otherwise a killed run had trained to the end and left only the outputs to write
            speed = log.steps_here * settings.batch_size / log.seconds
            runtime.record_provenance(outputs.provenance, seconds=log.seconds, images_per_second=speed)
        resume.remove(folder)


def _generator_inputs(
    data: Prepared, settings: Settings, noise_dim: int, device: torch.device
) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of noise and of captions that training chose from, the same on every rank."""
    stream = generator_for(settings.seed, "batch statistics")
    for _ in range(STATISTICS):
        rows = torch.randint(len(data.embeddings), (settings.batch_size,), generator=stream)
        noise = torch.randn(settings.batch_size, noise_dim, generator=stream)
        yield noise.to(device), data.embeddings[rows].to(device)


def _trainer(
    networks: Networks,
    objective: Objective,
    settings: Settings,
    device: torch.device,
    ranks: Ranks,
    steps_per_epoch: int,
) -> Trainer:
    adam = {"lr": settings.lr, "betas": (settings.beta1, settings.beta2)}
    schedule = partial(
        learning_rate_factor,
        total_steps=settings.epochs * steps_per_epoch,
        halving_steps=settings.lr_halving and settings.lr_halving * steps_per_epoch,
        cooldown=settings.lr_cooldown,
    )
    return Trainer(
        networks,
        objective,
        {"generator": adam, "discriminator": {**adam, "lr": settings.discriminator_lr or settings.lr}},
        device,
        ranks,
        seed=settings.seed,
        ema_half_life=settings.ema_half_life,
        schedule=schedule,
        autocast=runtime.autocast_dtype(settings.precision, device),
        accumulate=settings.accumulate,
        augment=augmentation.AUGMENTATIONS[settings.augment],
    )


def write_losses(path: Path, losses: list[dict[str, float]]) -> None:
    """One row an epoch (from 1): the epoch's mean of both losses and of each term, six significant digits."""
    losses_first = sorted(losses[0], key=lambda name: (name.startswith(("d_", "g_")), name))
    table = pd.DataFrame(losses, columns=losses_first)
    table.insert(0, "epoch", range(1, len(losses) + 1))
    write_text(path, table.to_csv(index=False, float_format="%.6g", lineterminator="\n"))


def summary(trainer: Trainer, batches: Batches, log: Log) -> dict[str, Any]:
    """The run's size and its last epoch's losses (six significant digits): the same bytes for the same run.

    `warning_at_epoch` is there only where the objective had a warning.
    """
    warning = loop.first_warning(trainer, log.losses)
    networks = {"generator": trainer.networks.generator, "discriminator": trainer.networks.discriminator}
    return {
        **{f"loss_{name}": float(f"{value:.6g}") for name, value in log.losses[-1].items()},
        **{f"{name}_parameters": sum(w.numel() for w in network.parameters()) for name, network in networks.items()},
        **({"warning_at_epoch": warning} if warning else {}),
        "epochs": len(log.losses),
        "steps": trainer.step,
        "images_seen": trainer.step * batches.batch_size,
        "training_images": len(batches),
    }
