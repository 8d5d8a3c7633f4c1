"""All metrics of a generator in one flat record: what metrics/eval.json holds."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from textbloom.core.errors import MORE_PICTURES, UserError
from textbloom.core.seeding import random_subset
from textbloom.dataset.eval_split import EvalSplit
from textbloom.features import inception
from textbloom.features.extractor import Extractor, Features
from textbloom.metrics import colour_accuracy, diversity, fidelity, memorisation, petal_number, retrieval
from textbloom.metrics.base import Estimate, Evaluation, Metric, RealPictures
from textbloom.text import TextEncoder

# A new metric is a file beside this one and its function in one of these: does it see pictures through the extractor?
THROUGH_EXTRACTOR: tuple[Metric, ...] = (fidelity.measure, retrieval.measure, diversity.measure, memorisation.measure)
OTHERWISE: tuple[Metric, ...] = (colour_accuracy.measure, petal_number.measure, diversity.measure_perceptual)

DIGITS = 6
OTHERS = 50_000  # other real pictures that are looked at, at most
_TEXTS = 64  # captions encoded at once

# Pictures uint8 [m, 3, S, S] for the captions of these places, int64 [m], of the evaluator's n; the number chooses the
# noise, so that the pictures of one caption and two numbers are two draws.
Maker = Callable[[Tensor, int], Tensor]


@dataclass(frozen=True)
class Result:
    """What an evaluation found.

    metrics: the record of metrics/eval.json.
    intervals: of the values that have one the value and its 95% interval, low and high.
    memorisation: the curves of `memorisation.curves`.
    """

    metrics: dict[str, Any]
    intervals: dict[str, tuple[float, float, float]]
    memorisation: dict[str, list[float]]


class Evaluator:
    """Measures any number of generators against the same real pictures."""

    def __init__(
        self,
        extractor: Extractor,
        features: Features,
        image_ids: np.ndarray,
        split: EvalSplit,
        text_encoder: TextEncoder,
        *,
        samples: int,
        seed: int,
        attributes: Path | None = None,
        allow_training_network: bool = False,
    ) -> None:
        """Choose the pictures that are compared, `samples` of them, by `seed`.

        Args:
            extractor: the network through which pictures are seen.
            features: what it sees in all prepared pictures, whose ids are `image_ids`, ascending.
            split: the prepared pictures by their part in the evaluation.
            text_encoder: in whose space retrieval compares captions, whatever encoder a generator was trained with.
            samples: how many pictures are compared.
            seed: of this choice and of those that metrics make.
            attributes: as `RealPictures` describes.
            allow_training_network: whether the extractor may be a network that a generator learned from.

        Raises UserError where there are fewer pictures than `samples`.
        """
        names = [f"{split.split} pictures", "training pictures"]
        if split.seen:
            names = ["pictures in a half of the training ones"] * 2
        for name, pictures in zip(names, (split.pictures, split.others), strict=True):
            if len(pictures) < samples:
                raise UserError(
                    f"evaluate.samples: {samples} is more than the {len(pictures)} {name}; lower it, or {MORE_PICTURES}"
                )
        if len(split.others) > OTHERS:
            chosen = random_subset(len(split.others), OTHERS, seed, "other pictures").sort().values
            split = replace(split, others=split.others.subset(chosen))
        self.extractor, self.text_encoder = extractor, text_encoder
        text_encoder.check(split.pictures.first_captions, refuse=False)
        self._allow_training_network = allow_training_network
        self.real = RealPictures(
            split=split,
            rows=random_subset(len(split.pictures), samples, seed, "held-out pictures").sort().values,
            features=features[_places(split.pictures.image_ids, image_ids)],
            other_features=features[_places(split.others.image_ids, image_ids)],
            texts=text_encoder.encode(split.pictures.first_captions, _TEXTS),
            other_texts=text_encoder.encode(split.others.first_captions, _TEXTS),
            seed=seed,
            attributes=attributes,
        )

    @property
    def embeddings(self) -> Tensor:
        """The prepared embeddings of the n captions that pictures are made for, float32 [n, D]."""
        return self.real.split.pictures.first_embeddings[self.real.rows]

    @property
    def captions(self) -> list[str]:
        """The n captions that pictures are made for."""
        return [self.real.split.pictures.first_captions[row] for row in self.real.rows.tolist()]

    def measure(self, make: Maker, trained: Mapping[str, Any]) -> Result:
        """Measure the generator that makes pictures by `make`; `trained` is the config of its trained folder.

        Keys that the extractor or the data cannot give are absent. Where the extractor is a network that the generator
        learned from, the keys of what is seen through it end in `_selfjudged`, if that is allowed at all.

        Raises UserError for an extractor that is not allowed, where a metric has too few pictures or captions, and for
        a value that is not finite.
        """
        networks = [*trained.get("pretrained", []), *trained["encoder"].get("pretrained", [])]
        learned_from = frozenset(network["sha256"] for network in networks)
        suffix = "_selfjudged" if self._learned_from_extractor(learned_from) else ""
        evaluation = self.evaluation(make, learned_from)
        values: dict[str, float | Estimate] = {}
        for metric in THROUGH_EXTRACTOR:
            values |= {name + suffix: value for name, value in metric(evaluation).items()}
        for metric in OTHERWISE:
            values |= metric(evaluation)
        intervals = {
            name: (value.value, *value.interval(self.real.seed))
            for name, value in sorted(values.items())
            if isinstance(value, Estimate)
        }
        plain = {name: value.value if isinstance(value, Estimate) else value for name, value in values.items()}
        metrics = rounded(self._conditions(evaluation, trained) | plain)
        return Result(metrics, intervals, memorisation.curves(evaluation))

    def _learned_from_extractor(self, learned_from: frozenset[str]) -> bool:
        """Whether generator or text encoder learned from the extractor. Raises UserError where that is not allowed."""
        found = self.extractor.sha256 in learned_from
        if found and not self._allow_training_network:
            raise UserError(
                f"evaluate.extractor: the generator learned from {self.extractor.name}, whose opinion of it says "
                "little; choose another one, or set evaluate.allow_training_network to true"
            )
        return found

    def evaluation(self, make: Maker, learned_from: frozenset[str]) -> Evaluation:
        """What metrics look at, of the generator that makes pictures by `make`."""
        count = len(self.real.rows)
        generated = make(torch.arange(count), 0)
        features = self.extractor(generated, "generated pictures")
        again = (
            random_subset(count, min(count, diversity.CAPTIONS), self.real.seed, "captions drawn again").sort().values
        )
        more = torch.cat([make(again, draw) for draw in range(1, diversity.DRAWS)])
        further = self.extractor(more, "further pictures of the same captions").features
        shape = (diversity.DRAWS, len(again))
        return Evaluation(
            real=self.real,
            generated=generated,
            features=features,
            drawn_again=again,
            drawn=torch.cat([generated[again], more]).unflatten(0, shape).transpose(0, 1),
            draws=torch.cat([features.features[again], further]).unflatten(0, shape).transpose(0, 1),
            learned_from=learned_from,
            inception=self.extractor.name == inception.NAME,
        )

    def _conditions(self, evaluation: Evaluation, trained: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "encoder": trained["encoder"]["name"],
            "encoder_sha256": trained["encoder"]["sha256"],
            "extractor": self.extractor.name,
            "image_size": evaluation.generated.shape[-1],
            "layer": self.extractor.layer,
            "n_fake": len(evaluation.generated),
            "n_real": len(self.real.rows),
            "seed": self.real.seed,
            "split": self.real.split.split,
            "text_encoder": self.text_encoder.metadata["name"],
            "text_encoder_sha256": self.text_encoder.metadata["sha256"],
        }


def rounded(record: Mapping[str, Any]) -> dict[str, Any]:
    """The record with its floats rounded to six significant digits. One that is not finite is a UserError."""
    for name, value in record.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise UserError(f"{name} is {value}: the features are too large or do not vary; check evaluate.weights")
    return {name: float(f"{v:.{DIGITS}g}") if isinstance(v, float) else v for name, v in record.items()}


def _places(wanted: np.ndarray, image_ids: np.ndarray) -> Tensor:
    """The place of each wanted id among the ascending `image_ids`, int64."""
    return torch.from_numpy(np.searchsorted(image_ids, wanted))
