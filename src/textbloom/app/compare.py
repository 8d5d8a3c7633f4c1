"""Several trained systems under one protocol: the same held-out pictures, captions, noise and measures for all."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import torch
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional

from textbloom import config
from textbloom.core.errors import UserError
from textbloom.core.seeding import generator_for
from textbloom.core.tensors import load_image_ids, load_metadata, load_tensors
from textbloom.dataset.eval_split import load_eval_split
from textbloom.dataset.prepared import read_captions
from textbloom.features import extractor
from textbloom.metrics.evaluator import Evaluator, rounded
from textbloom.sampling.generator import TrainedGenerator, load_generator
from textbloom.text import pretrained
from textbloom.viz.samples import Examples
from textbloom.viz.sheet import Row, Sheet


@dataclass(frozen=True)
class System:
    """A trained system and how it reads captions.

    embeddings: its own encoder's vector of each caption it was prepared for.
    """

    name: str
    generator: TrainedGenerator
    embeddings: Mapping[str, Tensor]

    def pictures(self, captions: Sequence[str], noise: Tensor, size: int) -> Tensor:
        """Pictures uint8 [n, 3, size, size] for n captions, smaller ones enlarged (bicubic).

        Of each row of `noise` a system takes as many numbers as it needs. Raises UserError for a caption that it was
        not prepared for.
        """
        missing = next((caption for caption in captions if caption not in self.embeddings), None)
        if missing is not None:
            raise UserError(
                f"{self.name}: its {config.CAPTIONS} has no held-out caption '{missing}': give all systems the same "
                "data, split and data.limit"
            )
        vectors = torch.stack([self.embeddings[caption] for caption in captions])
        pictures = self.generator.sample(vectors, noise[:, : self.generator.noise_dim])
        if size == self.generator.size:
            return pictures
        return functional.resize(pictures, [size, size], InterpolationMode.BICUBIC)


def open_system(name: str, folder: Path) -> System:
    """The system that lies trained in the project `folder`, as its params.yaml names it, or in its models/ `folder`.

    It can read the captions that it did not train on, so that no system is asked for what it knows. Raises UserError
    where models and embeddings are missing or not of one encoder.
    """
    project = project_of(folder)
    p = config.load(project / config.PARAMS)
    trained = project / config.trained(p.evaluate.model) if project == folder else folder
    generator = load_generator(trained, p.evaluate.generator)
    encoder = load_metadata(project / config.EMBEDDINGS)["encoder"]
    if encoder != generator.config["encoder"]:
        raise UserError(f"{name}: {project / config.EMBEDDINGS} is of another encoder than its generator: `make repro`")
    rows = read_captions(project / config.CAPTIONS)
    vectors = load_tensors(project / config.EMBEDDINGS)["embeddings"]
    held_out = rows[~rows["split"].isin(p.train.split_names)]
    return System(name, generator, dict(zip(held_out["caption"], vectors[held_out.index.tolist()], strict=True)))


def project_of(folder: Path) -> Path:
    """The project that `folder` is, or whose trained folder, such as models/base, it is."""
    if (folder / config.PARAMS).is_file() or folder.parent.name != config.BASE.parent.name:
        return folder
    return folder.parent.parent


def side(systems: Sequence[System]) -> int:
    """The side in pixels at which systems are compared, that of the largest pictures."""
    return max(system.generator.size for system in systems)


def evaluator_of(p: config.Params, size: int) -> Evaluator:
    """What measures generated pictures of `size` pixels as this project's stage evaluate does."""
    judge = extractor.load(p.evaluate.extractor, p.evaluate.weights, p.evaluate.layer)
    return Evaluator(
        judge,
        extractor.read_real_features(config.REAL_FEATURES, judge, size),
        load_image_ids(config.IMAGE_IDS),
        load_eval_split(
            config.PREPARED, split=p.evaluate.split, train_splits=p.train.split_names, seed=p.seed, size=size
        ),
        pretrained.load(p.evaluate.text_encoder, source=p.encoder.source),
        samples=p.evaluate.samples,
        seed=p.seed,
        attributes=config.attributes(p.data.dataset),
        allow_training_network=p.evaluate.allow_training_network,
    )


def measure(systems: Sequence[System], evaluator: Evaluator, seed: int) -> dict[str, Any]:
    """The measures of metrics/eval.json of each system, all for the same captions and noise.

    Systems of one name are one system trained with several seeds: `systems` holds the mean over them by name, `spread`
    the standard deviation, of those that have one, and `runs` how many there are.
    """
    captions = evaluator.captions

    def make(system: System, places: Tensor, draw: int) -> Tensor:
        noise = _noise(systems, len(captions), seed, "compared pictures", draw)
        return system.pictures([captions[place] for place in places.tolist()], noise[places], side(systems))

    records: dict[str, list[dict[str, Any]]] = {}
    for system in systems:
        records.setdefault(system.name, []).append(
            evaluator.measure(partial(make, system), system.generator.config).metrics
        )
    return {
        "systems": {name: over_seeds(found, fmean) for name, found in records.items()},
        "spread": {name: over_seeds(found, stdev, True) for name, found in records.items() if len(found) > 1},
        "runs": {name: len(found) for name, found in records.items()},
    }


def over_seeds(
    records: Sequence[Mapping[str, Any]], reduce: Callable[[list[float]], float], numbers_alone: bool = False
) -> dict[str, Any]:
    """One record of several: measures reduced, and of conditions, such as `n_fake`, that of the first."""
    reduced: dict[str, Any] = {} if numbers_alone else dict(records[0])
    for name, value in records[0].items():
        if isinstance(value, float):
            reduced[name] = reduce([record[name] for record in records])
    return rounded(reduced)


def sheet(systems: Sequence[System], shown: Examples, seed: int) -> Sheet:
    """A row a caption: its real picture, then each system's for the caption and one noise, of the first seed alone."""
    systems = [*{system.name: system for system in reversed(systems)}.values()][::-1]
    noise = _noise(systems, len(shown), seed, "compared sheet")
    drawn = [system.pictures(shown.captions, noise, side(systems)) for system in systems]
    rows = [
        Row(torch.stack([real, *made]), left=caption)
        for caption, real, *made in zip(shown.captions, shown.images, *drawn, strict=True)
    ]
    headings = ["real", *(system.name for system in systems)]
    title = "The same held-out captions and noise for every system"
    return Sheet(rows, title=title, headings=headings, tile=128, first_apart=True)


def _noise(systems: Sequence[System], count: int, seed: int, purpose: str, draw: int = 0) -> Tensor:
    most = max(system.generator.noise_dim for system in systems)
    return torch.randn(count, most, generator=generator_for(seed, purpose, draw))
