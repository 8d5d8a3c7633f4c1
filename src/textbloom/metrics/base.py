"""What a metric may look at: generated pictures with their captions, real ones, and the features of both."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from textbloom.core.seeding import generator_for
from textbloom.dataset.eval_split import EvalSplit
from textbloom.features.extractor import Features

RESAMPLES = 200
MOST = 500  # pictures in a part without repeats: distances between more of them take long
Z = 1.959964  # a normal variable is within this many standard deviations in 95% of the cases


@dataclass(frozen=True)
class RealPictures:
    """The real side, the same for every generator that is measured.

    split: the pictures that generated ones are compared with, and the other real ones.
    rows: int64 [n], ascending; which of `split.pictures` are compared, while captions are chosen among all of them.
    features: of `split.pictures`, [N, F].
    other_features: of `split.others`, [M, F].
    texts: embeddings of the first captions of `split.pictures`, float32 [N, D], by the evaluation's own text encoder.
    other_texts: the same of `split.others`, [M, D].
    seed: of every random choice that a metric makes.
    attributes: the folder with attributes.csv and palette.json, of drawn flowers; None of other pictures.
    """

    split: EvalSplit
    rows: Tensor
    features: Features
    other_features: Features
    texts: Tensor
    other_texts: Tensor
    seed: int
    attributes: Path | None

    @property
    def images(self) -> Tensor:
        """The n compared pictures, uint8 [n, 3, S, S]."""
        return self.split.pictures.images[self.rows]

    @property
    def compared(self) -> Features:
        """The features of the n compared pictures."""
        return self.features[self.rows]

    @property
    def image_ids(self) -> list[int]:
        """The ids of the n compared pictures."""
        return self.split.pictures.image_ids[self.rows.numpy()].tolist()


@dataclass(frozen=True)
class Evaluation:
    """One generator's pictures beside the real ones.

    generated: uint8 [n, 3, S, S]; picture i was made for the first caption of the real picture `real.rows[i]`.
    features: of `generated`.
    drawn_again: int64 [C], the places in `generated` of the captions that were drawn several times.
    drawn: their pictures, uint8 [C, K, 3, S, S]: K of one caption, each of another noise.
    draws: features of `drawn`, [C, K, F].
    learned_from: the sha256 of every pretrained network that the generator or its text encoder learned from.
    inception: whether the judge is the Inception network of the published scores.
    """

    real: RealPictures
    generated: Tensor
    features: Features
    drawn_again: Tensor
    drawn: Tensor
    draws: Tensor
    learned_from: frozenset[str]
    inception: bool = False

    @cached_property
    def alike(self) -> Tensor:
        """Places among all real pictures, int64 [C, K], of those with the captions nearest to each of `drawn_again`."""
        texts = torch.cat([self.real.texts, self.real.other_texts])
        return nearest_captions(texts, self.real.rows[self.drawn_again], self.draws.shape[1])


@dataclass(frozen=True)
class Estimate:
    """A metric's value, and a function that computes it anew on a part of the pictures, for its confidence interval.

    of: the value for the pictures (or captions) of these places, int64 [m], of `count` in all.
    repeats: whether a place may come several times: not where pictures are compared with one another, as a picture
        beside its double would look like a collapsed generator.
    """

    value: float
    of: Callable[[Tensor], float]
    count: int
    repeats: bool

    def interval(self, seed: int) -> tuple[float, float]:
        """The value minus and plus 1.96 standard errors: how far it would move with n other pictures.

        A mean's standard error is the spread over bootstrap samples (Efron 1979): n places drawn with repeats. Of
        values that compare pictures with one another it is estimated from random parts of m pictures without repeats,
        the delete-d jackknife (Shao & Wu 1989, Annals of Statistics 17, 1176): the spread over parts times
        √(m / (n − m)). It leaves out how training runs of the same system differ.
        """
        n = self.count
        m = n if self.repeats else min(n // 2, MOST)
        scale = 1.0 if self.repeats else (m / (n - m)) ** 0.5
        stream = generator_for(seed, "resampled pictures")
        found = [
            self.of(
                torch.randint(n, (n,), generator=stream) if self.repeats else torch.randperm(n, generator=stream)[:m]
            )
            for _ in range(RESAMPLES)
        ]
        error = scale * float(torch.tensor(found, dtype=torch.float64).std())
        return self.value - Z * error, self.value + Z * error


Values = Mapping[str, float | Estimate]
Metric = Callable[[Evaluation], Values]


def mean_of(values: Tensor) -> Estimate:
    """The estimate of a mean over pictures, from one number a picture, [n]."""
    values = values.double()
    return Estimate(float(values.mean()), lambda places: float(values[places].mean()), len(values), repeats=True)


def nearest_captions(texts: Tensor, rows: Tensor, count: int) -> Tensor:
    """The `count` pictures whose captions are nearest in angle to those of `rows`, int64 [C, count], a row's own first.

    `texts`: embeddings of all captions, [N, D].
    """
    unit = functional.normalize(texts, dim=1)
    similarity = unit[rows] @ unit.T
    similarity.scatter_(1, rows[:, None], float("inf"))  # also before a caption of the same words
    return similarity.topk(count, dim=1).indices
