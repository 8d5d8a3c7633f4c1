"""All metrics of a generator in one flat record: what metrics/eval.json holds."""

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from textbloom.core.errors import UserError
from textbloom.core.seeding import generator_for
from textbloom.dataset.eval_split import EvalSplit
from textbloom.features.extractor import Extractor, Features
from textbloom.metrics import colour_accuracy, fidelity, retrieval
from textbloom.metrics.evaluation import Evaluation, Metric, RealPictures

# A new metric is a file beside this one and its function here.
METRICS: tuple[Metric, ...] = (fidelity.measure, retrieval.measure, colour_accuracy.measure)

DIGITS = 6
OTHERS = 50_000  # other real pictures that are looked at, at most: they fit the probe and give the floor


class Evaluator:
    """Measures any number of generators against the same real pictures."""

    def __init__(
        self,
        extractor: Extractor,
        features: Features,
        image_ids: np.ndarray,
        split: EvalSplit,
        *,
        samples: int,
        seed: int,
        attributes: Path | None = None,
    ) -> None:
        """Choose the pictures that are compared, `samples` of them, by `seed`.

        Args:
            extractor: the judge, which looks at generated pictures.
            features: what it sees in all prepared pictures, whose ids are `image_ids`, ascending.
            split: the prepared pictures by their part in the evaluation.
            samples: how many pictures are compared.
            seed: of this choice and of those that metrics make.
            attributes: as `RealPictures` describes.

        Raises UserError where there are fewer pictures than `samples`.
        """
        names = [f"{split.split} pictures", "training pictures"]
        if split.seen:
            names = ["pictures in a half of the training ones"] * 2
        for name, pictures in zip(names, (split.pictures, split.others), strict=True):
            if len(pictures) < samples:
                raise UserError(
                    f"evaluate.samples: {samples} is more than the {len(pictures)} {name}; lower it, or raise "
                    "data.limit or drawn.count"
                )
        if len(split.others) > OTHERS:
            split = replace(split, others=split.others.subset(_some(len(split.others), OTHERS, seed, "other pictures")))
        self.extractor = extractor
        self.real = RealPictures(
            split=split,
            rows=_some(len(split.pictures), samples, seed, "held-out pictures"),
            features=features[_places(split.pictures.image_ids, image_ids)],
            other_features=features[_places(split.others.image_ids, image_ids)],
            seed=seed,
            attributes=attributes,
        )

    @property
    def embeddings(self) -> Tensor:
        """Embeddings of the captions that pictures are to be generated for, float32 [n, D]."""
        return self.real.split.pictures.first_embeddings[self.real.rows]

    @property
    def captions(self) -> list[str]:
        """The n captions that pictures are to be generated for."""
        return [self.real.split.pictures.first_captions[row] for row in self.real.rows.tolist()]

    def measure(self, generated: Tensor) -> dict[str, Any]:
        """The record of generated pictures uint8 [n, 3, S, S], each made for the caption of the same row.

        A key that the extractor or the data cannot give is absent. Floats are rounded. Raises UserError where a metric
        has too few pictures or captions, and for a value that is not finite.
        """
        if generated.shape != self.real.images.shape:
            raise UserError(
                f"models: the generator makes pictures of {generated.shape[-1]} pixels, the data has "
                f"{self.real.images.shape[-1]}: run `make repro`"
            )
        evaluation = Evaluation(self.real, generated, self.extractor(generated, "generated pictures"))
        record: dict[str, Any] = {
            "extractor": self.extractor.name,
            "layer": self.extractor.layer,
            "image_size": generated.shape[-1],
            "n_fake": len(generated),
            "n_real": len(self.real.rows),
            "seed": self.real.seed,
            "split": self.real.split.split,
        }
        for metric in METRICS:
            record |= metric(evaluation)
        return rounded(record)


def rounded(record: Mapping[str, Any]) -> dict[str, Any]:
    """The record with its floats rounded to six significant digits. One that is not finite is a UserError."""
    for name, value in record.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise UserError(f"{name} is {value}: the features are too large or do not vary; check evaluate.weights")
    return {name: float(f"{v:.{DIGITS}g}") if isinstance(v, float) else v for name, v in record.items()}


def _places(wanted: np.ndarray, image_ids: np.ndarray) -> Tensor:
    """The place of each wanted id among the ascending `image_ids`, int64."""
    return torch.from_numpy(np.searchsorted(image_ids, wanted))


def _some(count: int, wanted: int, seed: int, purpose: str) -> Tensor:
    """`wanted` of `count` indices, a seeded choice, ascending."""
    return torch.randperm(count, generator=generator_for(seed, purpose))[:wanted].sort().values
