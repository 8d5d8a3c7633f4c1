"""One training run from data to files, resumable at any moment: what the train and the refine stage both do."""

import copy
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from textbloom.core import checkpoint, runtime, trained_folder
from textbloom.core.files import replacing, write_json, write_text
from textbloom.core.seeding import generator_for, random_subset
from textbloom.core.tensors import save_tensors, to_uint8
from textbloom.dataset.prepared import Prepared
from textbloom.models.base import pretrained
from textbloom.training import augmentation, loop, validation
from textbloom.training.batches import Batches
from textbloom.training.distributed import Ranks, one_line_for_a_lost_process
from textbloom.training.ema import recompute_batch_norm
from textbloom.training.loop import Log, ProgressInputs
from textbloom.training.objectives.base import Networks, Objective
from textbloom.training.trainer import Trainer, learning_rate_factor

SHOWN = 8  # captions on the progress sheet
BATCH = 64  # validation pictures that are made at once
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
    evaluate_every: int | None
    evaluate_extractor: str


@dataclass(frozen=True)
class Outputs:
    """Where a run leaves its networks, loss curves, summary, the facts of the machine, and what its epochs measured."""

    networks: Path
    losses: Path
    metrics: Path
    provenance: Path
    validation: Path | None = None


def run(
    networks: Networks,
    objective: Objective,
    config: Mapping[str, Any],
    settings: Settings,
    data: Prepared,
    outputs: Outputs,
    ranks: Ranks,
    *,
    confirm: Callable[[], None] = lambda: None,
    resume_root: Path,
    files: Sequence[Path],
    held_out: validation.Validation | None = None,
) -> None:
    """Train `networks`, or go on where a killed run of the same arguments, data and code stopped.

    Each of `ranks` calls this with the same arguments; the first alone locks the run's folder and writes.

    Args:
        config: what the trained folder's config.json shall hold; it describes networks, objective and text encoder.
        confirm: called before anything is written; where it raises, the run's state stays for the next one.
        resume_root: the folder in which unfinished runs keep their state.
        files: all files that decide the run, beside its arguments.
        held_out: by what the generator is measured every `settings.evaluate_every` epochs.
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
    shown = random_subset(len(data), SHOWN, settings.seed, "progress captions")
    stream = generator_for(settings.seed, "progress noise")
    inputs = ProgressInputs(
        noise=torch.randn(len(shown), networks.generator.noise_dim, generator=stream),
        text=data.first_embeddings[shown],
        captions=[data.first_captions[i] for i in shown.tolist()],
    )
    decides = [config, asdict(settings), hashlib.sha256(data.image_ids.tobytes()).hexdigest()]
    folder = checkpoint.run_folder(resume_root, [*decides, *runtime.arithmetic(device), ranks.world], files, ROOMS)

    def averaged() -> nn.Module:
        """The averaged generator as it would be saved now: with batch statistics of its own."""
        network = copy.deepcopy(trainer.ema.network)
        recompute_batch_norm(network, _generator_inputs(data, settings, networks.generator.noise_dim, device))
        return network

    def validate() -> tuple[dict[str, float], dict[str, Tensor]]:
        assert held_out is not None
        network = averaged()
        stream = generator_for(settings.seed, "validation noise")
        noise = torch.randn(len(held_out.text), networks.generator.noise_dim, generator=stream)
        return held_out.measure(_pictures(network, noise, held_out.text, device)), network.state_dict()

    with one_line_for_a_lost_process(ranks), checkpoint.lock(folder) if ranks.first else nullcontext():
        log = loop.train(
            trainer,
            batches,
            inputs,
            epochs=settings.epochs,
            grid_every=settings.grid_every,
            folder=folder,
            section=settings.section,
            validate=validate if held_out else None,
            evaluate_every=settings.evaluate_every,
        )
        ema = averaged()
        if not ranks.first:
            return
        # A second stage learned from the networks of the first one too.
        own = pretrained(networks.generator, networks.discriminator)
        learned_from = {"pretrained": [*config.get("pretrained", []), *own]}
        best = validation.best(log.validation) if log.validation else None
        chosen = {"best": {**best, "network": dict(held_out.network)}} if best and held_out else {}
        notes = {"epochs": log.sheet_epochs, "captions": inputs.captions}
        confirm()
        with replacing(outputs.networks) as made:
            trained_folder.save_networks(
                made, networks.generator, ema, networks.discriminator, {**config, **learned_from, **chosen}
            )
            if log.best:
                save_tensors(made / trained_folder.GENERATOR_BEST, log.best)
            save_tensors(made / trained_folder.PROGRESS, {"pictures": log.sheets}, notes)
            write_losses(made / trained_folder.LOSSES, log.losses)
        write_losses(outputs.losses, log.losses)
        if outputs.validation is not None:
            write_text(outputs.validation, validation.table(log.validation))
        write_json(outputs.metrics, summary(trainer, batches, log))
        if log.steps_here:  # otherwise a killed run had trained to the end and left only the outputs to write
            speed = log.steps_here * settings.batch_size / log.seconds
            runtime.record_provenance(outputs.provenance, seconds=log.seconds, images_per_second=speed)
        checkpoint.remove(folder)


def _generator_inputs(
    data: Prepared, settings: Settings, noise_dim: int, device: torch.device
) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of noise and of captions that training chose from, the same on every rank."""
    stream = generator_for(settings.seed, "batch statistics")
    for _ in range(STATISTICS):
        rows = torch.randint(len(data.embeddings), (settings.batch_size,), generator=stream)
        noise = torch.randn(settings.batch_size, noise_dim, generator=stream)
        yield noise.to(device), data.embeddings[rows].to(device)


@torch.no_grad()
def _pictures(generator: nn.Module, noise: Tensor, text: Tensor, device: torch.device) -> Tensor:
    """Pictures uint8 [n, 3, S, S] of noise [n, Z] and embeddings [n, D], some at a time."""
    batches = zip(noise.split(BATCH), text.split(BATCH), strict=True)
    return torch.cat([to_uint8(generator(z.to(device), t.to(device))).cpu() for z, t in batches])


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

    `warning_at_epoch` is there only where the objective had a warning, `best_epoch` and the values there only where the
    generator was measured as training went on.
    """
    warning = loop.first_warning(trainer, log.losses)
    best = validation.best(log.validation) if log.validation else None
    networks = {"generator": trainer.networks.generator, "discriminator": trainer.networks.discriminator}
    return {
        **{f"loss_{name}": _six_digits(value) for name, value in log.losses[-1].items()},
        **{f"{name}_parameters": sum(w.numel() for w in network.parameters()) for name, network in networks.items()},
        **({"warning_at_epoch": warning} if warning else {}),
        **{f"best_{name}": _six_digits(value) for name, value in (best or {}).items()},
        "epochs": len(log.losses),
        "steps": trainer.step,
        "images_seen": trainer.step * batches.batch_size,
        "training_images": len(batches),
    }


def _six_digits(value: float) -> float:
    """Of a number with a fraction; a whole one, such as an epoch, stays as it is."""
    return float(f"{value:.6g}") if isinstance(value, float) else value
