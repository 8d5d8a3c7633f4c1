"""Training of seconds: tiny networks, made-up pictures, a trainer of them, and whole runs of both training stages."""

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from textbloom import config, models
from textbloom.core import errors
from textbloom.core.tensors import load_metadata, save_tensors
from textbloom.dataset.prepared import Pictures, Prepared
from textbloom.training import loop
from textbloom.training.batches import Batches
from textbloom.training.distributed import ALONE, Ranks
from textbloom.training.objectives.base import Networks, Objective
from textbloom.training.objectives.gan_cls import GanCls
from textbloom.training.run import Outputs, Settings, run
from textbloom.training.trainer import Trainer
from textbloom.training.validation import Validation

CPU = torch.device("cpu")
SMALL: dict[str, Any] = {"embedding_dim": 12, "noise_dim": 5, "features": 4, "text_projection": 6}
SYSTEM_A: dict[str, Any] = {"feature_matching": 100.0, "pixel_l1": 50.0, "label_smoothing": 0.1}
ADAM = {"lr": 2e-4, "betas": (0.5, 0.999)}
SEED = 3
SETTINGS: dict[str, Any] = {
    "seed": SEED, "batch_size": 4, "lr": 2e-4, "discriminator_lr": None, "lr_halving": None, "lr_cooldown": 0.0,
    "beta1": 0.5, "beta2": 0.999, "ema_half_life": 26.0, "precision": "fp32", "grid_every": 2, "flips": False,
    "augment": "none", "devices": 1, "deterministic": False, "accumulate": 1, "evaluate_every": None,
    "evaluate_extractor": "any",
}  # fmt: skip


class Toy(nn.Module):
    """Stands for a pretrained network: pictures to maps of two scales, the second with batch norm before it."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 6, 4, 4)
        self.second = nn.Sequential(nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 10, 2, 2))

    def forward(self, images: Tensor) -> list[Tensor]:
        maps = self.first(images)
        return [maps, self.second(maps)]


def networks(name: str = "dcgan", size: int = 64, **changes: Any) -> Networks:
    """Both networks of a system; stackgan above 64 pixels: of its second stage."""
    torch.manual_seed(1)
    shape = {**SMALL, "discriminator_text": True, **changes}
    if name == "stackgan" and size > 64:
        first, _ = models.build(name, **shape, size=64)
        return Networks(*models.refine(first, name, **shape, size=size))
    return Networks(*models.build(name, **shape, size=size))


def trainer(
    of: Networks | None = None,
    device: torch.device = CPU,
    ranks: Ranks = ALONE,
    objective: dict[str, Any] | Objective | None = None,
    **changes: Any,
) -> Trainer:
    """A trainer by `objective`, or by system A's with these settings changed."""
    optimizers = {"generator": ADAM, "discriminator": ADAM}
    learned = objective if isinstance(objective, Objective) else GanCls(**{**SYSTEM_A, **(objective or {})})
    return Trainer(
        of or networks(), learned, optimizers, device, ranks, **{"seed": SEED, "ema_half_life": 26.0, **changes}
    )


def batch(size: int = 64, micro_batches: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    """Six pictures, their texts, and wrong pairs: the picture before each in its micro-batch."""
    stream = torch.Generator().manual_seed(2)
    images = torch.rand(6, 3, size, size, generator=stream) * 2 - 1
    return images, torch.randn(6, 12, generator=stream), torch.arange(6 // micro_batches).roll(1).repeat(micro_batches)


def prepared(count: int = 13, captions: int = 1, size: int = 64, larger: int | None = None) -> Prepared:
    stream = torch.Generator().manual_seed(5)
    numbers = torch.arange(1, count + 1).numpy()
    pictures = torch.randint(0, 256, (count, 3, 64, 64), dtype=torch.uint8, generator=stream)
    return Prepared(
        images=Pictures(pictures.repeat_interleave(size // 64, dim=2).repeat_interleave(size // 64, dim=3)),
        image_ids=numbers,
        class_ids=numbers,
        captions=[[f"flower {n} {k}" for k in range(captions)] for n in numbers],
        embeddings=torch.randn(count * captions, 12, generator=stream),
        first_row=torch.arange(count) * captions,
        larger=Pictures(torch.randint(0, 256, (count, 3, larger, larger), dtype=torch.uint8)) if larger else None,
    )


class _WatchedBatches(Batches):
    """Calls `after_step` with the number of finished steps before each further one, when the last was saved."""

    after_step: Callable[[int], None]

    def epoch(self, epoch: int, first_step: int = 0) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        first = epoch * self.steps_per_epoch + first_step
        for step, batch in enumerate(super().epoch(epoch, first_step), start=first):
            if step:
                self.after_step(step)
            yield batch


def train(
    folder: Path,
    epochs: int = 3,
    ranks: Ranks = ALONE,
    after_step: Callable[[int], None] = lambda step: None,
    batch_size: int = 4,
    section: str = "train",
    **changes: Any,
) -> tuple[Trainer, loop.Log]:
    """The loop alone, three steps an epoch unless `batch_size` is changed; `changes` are those of `trainer`."""
    trained = trainer(ranks=ranks, **changes)
    micro_batches = trained.accumulate
    batches = _WatchedBatches(prepared(), batch_size, 7, trained.device, ranks=ranks, micro_batches=micro_batches)
    batches.after_step = after_step
    noise = torch.ones(2, trained.networks.generator.noise_dim)
    inputs = loop.ProgressInputs(noise, torch.ones(2, 12), ["a red flower", "a blue flower"])
    log = loop.train(trained, batches, inputs, epochs=epochs, grid_every=2, folder=folder, section=section)
    return trained, log


def write_data() -> None:
    """In the working directory, the files whose bytes name a run."""
    data = prepared()
    save_tensors(config.IMAGES, {"images": data.images.all()})
    save_tensors(config.EMBEDDINGS, {"embeddings": data.embeddings}, {"encoder": {"name": "none", "sha256": "0" * 64}})
    config.CAPTIONS.write_text("image_id\n")


def train_stage(folder: Path, epochs: int, **changes: Any) -> None:
    """What the train stage does, in the working directory and three steps an epoch; the outputs go to `folder`."""
    _stage(networks(), 64, folder, epochs, {**SETTINGS, "section": "train", **changes}, [])


class Brightness(Validation):
    """The darkest generator is the best; measuring takes numbers from torch's own stream."""

    def measure(self, pictures: Tensor) -> dict[str, float]:
        torch.rand(3)
        return {"kernel_distance": float(pictures.float().mean()), "precision": 0.5, "recall": 0.25}


def brightness() -> Validation:
    text = torch.randn(21, 12, generator=torch.Generator().manual_seed(8))
    return Brightness(text, lambda pictures: pictures, text, {"name": "eye", "sha256": "4" * 64})


def refine_stage(folder: Path, epochs: int, weights: Sequence[Path] = ()) -> None:
    """The same of a second stage, on the frozen first one, which `weights` stand for."""
    _stage(networks("stackgan", 128), 128, folder, epochs, {**SETTINGS, "section": "refine"}, weights)


def _stage(
    trained: Networks, size: int, folder: Path, epochs: int, settings: dict[str, Any], weights: Sequence[Path]
) -> None:
    held_out = brightness() if settings.get("evaluate_every") else None
    run(
        trained,
        GanCls(**SYSTEM_A),
        {"network": {**SMALL, "size": size}, **load_metadata(config.EMBEDDINGS)},
        Settings(size=size, epochs=epochs, **settings),
        prepared(size=size),
        Outputs(
            folder / "base",
            folder / "losses.csv",
            folder / "train.json",
            folder / "provenance.json",
            folder / "validation.csv",
        ),
        ALONE,
        resume_root=config.resume_root(),
        files=[config.IMAGES, config.EMBEDDINGS, config.CAPTIONS, *weights],
        held_out=held_out,
    )


def stage_in_a_child(folder: Path, stage: str, project: Path) -> None:
    """The `stage` (train or refine) in a process of its own, its state saved at each step."""
    os.chdir(project)
    torch.set_num_threads(1)
    loop.SAVE_SECONDS, loop.LOG_STEPS = -1.0, 1
    errors.run(lambda: train_stage(folder, 3) if stage == "train" else refine_stage(folder, 3))
