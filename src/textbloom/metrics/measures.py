"""All measures of a generator in one flat record: what metrics/eval.json holds."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from textbloom.core.errors import UserError
from textbloom.core.seeding import generator_for, seed_for
from textbloom.dataset.eval_split import EvalSplit
from textbloom.features.extractor import Extractor, Features
from textbloom.metrics import fidelity
from textbloom.metrics import retrieval as alignment

DIGITS = 6
OTHERS = 50_000  # other real pictures that are looked at, at most: they fit a probe and give the floor


@dataclass(frozen=True)
class Compared:
    """The n real pictures that are compared with n generated ones.

    judged: all that could be compared, whose captions pictures choose from, and the others.
    rows: int64 [n], ascending, those of `judged.pictures` that are used.
    """

    judged: EvalSplit
    rows: Tensor

    @property
    def images(self) -> Tensor:
        """uint8 [n, 3, S, S]."""
        return self.judged.pictures.images[self.rows]

    @property
    def embeddings(self) -> Tensor:
        """Embeddings of the first captions, float32 [n, D]."""
        return self.judged.pictures.first_embeddings[self.rows]

    @property
    def image_ids(self) -> list[int]:
        """n ids."""
        return self.judged.pictures.image_ids[self.rows.numpy()].tolist()


def compared(judged: EvalSplit, samples: int, seed: int) -> Compared:
    """A seeded choice of `samples` judged pictures, and of at most OTHERS others. Too few of either are a UserError."""
    names = (
        ["pictures in a half of the training ones"] * 2
        if judged.seen
        else [f"{judged.split} pictures", "training pictures"]
    )
    for name, pictures in zip(names, (judged.pictures, judged.others), strict=True):
        if len(pictures) < samples:
            raise UserError(
                f"evaluate.samples: {samples} is more than the {len(pictures)} {name}; lower it, "
                "or raise data.limit or drawn.count"
            )
    if len(judged.others) > OTHERS:
        some = _some(len(judged.others), OTHERS, seed, "other pictures")
        judged = replace(judged, others=judged.others.subset(some))
    return Compared(judged, _some(len(judged.pictures), samples, seed, "held-out pictures"))


class Referee:
    """Measures any number of generators against the same real pictures, whose features it extracts once."""

    def __init__(self, extractor: Extractor, pictures: Compared, seed: int) -> None:
        self._extractor, self._pictures, self._seed = extractor, pictures, seed
        self._real = extractor(pictures.images, "real pictures")
        self._others = extractor(pictures.judged.others.images.all(), "real training pictures")

    def measure(self, generated: Tensor) -> dict[str, Any]:
        """Fidelity and alignment of generated pictures uint8 [n, 3, S, S], each made for the caption of the same row.

        Returns the keys of metrics/eval.json that hold for every data set; those that the extractor cannot give are
        absent. Raises UserError where there are too few pictures or captions.
        """
        pictures = self._pictures
        if generated.shape != pictures.images.shape:
            raise UserError(
                f"models: the generator makes pictures of {generated.shape[-1]} pixels, the data has "
                f"{pictures.images.shape[-1]}: run `make repro`"
            )
        fake = self._extractor(generated, "generated pictures")
        conditions = {
            "extractor": self._extractor.network.get_name(),
            "image_size": generated.shape[-1],
            "n_fake": len(generated),
            "n_real": len(pictures.rows),
            "seed": self._seed,
            "split": pictures.judged.split,
        }
        return {
            **conditions,
            **_fidelity(fake, self._real, self._others, self._seed),
            **_alignment(fake, self._real, self._others, pictures, self._seed),
        }


def finished(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Floats rounded to six significant digits. One that is not finite is a UserError."""
    for name, value in metrics.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise UserError(f"{name} is {value}: the features are too large or do not vary; check evaluate.weights")
    return {name: float(f"{v:.{DIGITS}g}") if isinstance(v, float) else v for name, v in metrics.items()}


def _fidelity(fake: Features, real: Features, others: Features, seed: int) -> dict[str, float]:
    # torch-fidelity seeds numpy's older generator, which takes 32 bits.
    torch_fidelity_seed = seed_for(seed, "torch-fidelity") % 2**32
    kernel, spread = fidelity.kernel_distance(fake.features, real.features, torch_fidelity_seed)
    precision, recall = fidelity.precision_recall(fake.features, real.features)
    floor = others.features[_some(len(others.features), len(real.features), seed, "floor pictures")]
    metrics = {
        "frechet_distance": fidelity.frechet_distance(fake.features, real.features),
        "real_floor": fidelity.frechet_distance(floor, real.features),
        "kernel_distance": kernel,
        "kernel_distance_std": spread,
        "precision": precision,
        "recall": recall,
    }
    if fake.logits is not None:
        metrics["inception_score"] = fidelity.inception_score(fake.logits, torch_fidelity_seed)
    return metrics


def _alignment(fake: Features, real: Features, others: Features, pictures: Compared, seed: int) -> dict[str, float]:
    judged = pictures.judged
    probe = alignment.fit_probe(others.features, judged.others.first_embeddings, seed)
    choices = alignment.choices(probe, judged.pictures.first_captions, judged.pictures.first_embeddings)
    own = choices.own[pictures.rows]
    shuffled = own[alignment.strangers(len(own), seed)]
    seen = probe.pictures(fake.features)
    variants = {
        "": alignment.retrieval(seen, choices.vectors, own),
        "_real": alignment.retrieval(probe.pictures(real.features), choices.vectors, own),
        "_shuffled": alignment.retrieval(seen, choices.vectors, shuffled),
    }
    return {name + suffix: value for suffix, found in variants.items() for name, value in found.items()}


def _some(count: int, wanted: int, seed: int, purpose: str) -> Tensor:
    """`wanted` of `count` indices, a seeded choice, ascending."""
    return torch.randperm(count, generator=generator_for(seed, purpose))[:wanted].sort().values
