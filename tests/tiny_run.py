"""A training run of seconds from the files of a project, for tests that kill it, or go on from it."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from test_objectives import CPU, networks, recipe
from test_training import prepared

from textbloom import config, models
from textbloom.core import errors
from textbloom.core.tensors import save_tensors
from textbloom.dataset.prepared import Pictures
from textbloom.training import loop, session
from textbloom.training.ranks import ALONE

SYSTEM = {"size": 64, "embedding_dim": 12, "noise_dim": 5, "features": 4, "text_projection": 6}


def outputs(folder: Path) -> session.Outputs:
    return session.Outputs(folder / "base", folder / "losses.csv", folder / "train.json", folder / "provenance.json")


def write_data() -> None:
    """In the working directory, the files whose bytes name a run."""
    data = prepared()
    save_tensors(config.IMAGES, {"images": data.images.all()})
    save_tensors(config.EMBEDDINGS, {"embeddings": data.embeddings}, {"encoder": {"name": "none"}})
    config.CAPTIONS.write_text("image_id\n")


def train(folder: Path, epochs: int, warm_start: bool | None = False, **changes: object) -> None:
    """Three steps an epoch, in the working directory; the outputs go to `folder`."""
    plan = session.Plan("train", 64, epochs, 4, grid_every=2, flips=False, warm_start=warm_start)
    session.run(networks(), {"network": SYSTEM}, recipe(**changes), plan, prepared(), outputs(folder), CPU, ALONE)


def refine(folder: Path, epochs: int, weights: Sequence[Path] = ()) -> None:
    """The same of a second stage, on the frozen first one, which `weights` stand for."""
    torch.manual_seed(1)
    first, _ = models.build("stackgan", discriminator_text=True, **SYSTEM)
    second = models.refine(first, "stackgan", discriminator_text=True, **{**SYSTEM, "size": 128})
    data = prepared()
    large = Pictures(data.images.all().repeat_interleave(2, dim=2).repeat_interleave(2, dim=3))
    plan = session.Plan("refine", 128, epochs, 4, grid_every=2, flips=False)
    data = replace(data, images=large)
    session.run(second, {"network": SYSTEM}, recipe(), plan, data, outputs(folder), CPU, ALONE, weights)


def in_a_child(folder: Path, stage: str, project: Path) -> None:
    """The `stage` (train or refine) in a process of its own, its state saved at each step."""
    os.chdir(project)
    torch.set_num_threads(1)
    loop.SAVE_SECONDS, loop.LOOK_STEPS = -1, 1
    errors.run(lambda: train(folder, 3) if stage == "train" else refine(folder, 3))
