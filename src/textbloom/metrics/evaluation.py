"""What a metric may look at: generated pictures with their captions, real ones, and the features of both."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from textbloom.dataset.eval_split import EvalSplit
from textbloom.features.extractor import Features


@dataclass(frozen=True)
class RealPictures:
    """The real side, the same for every generator that is measured.

    split: the pictures that generated ones are compared with, and the other real ones.
    rows: int64 [n], ascending; which of `split.pictures` are compared, while captions are chosen among all of them.
    features: of `split.pictures`, [N, F].
    other_features: of `split.others`, [M, F].
    seed: of every random choice that a metric makes.
    attributes: the folder with attributes.csv and palette.json, of drawn flowers; None of other pictures.
    """

    split: EvalSplit
    rows: Tensor
    features: Features
    other_features: Features
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
    """

    real: RealPictures
    generated: Tensor
    features: Features


Metric = Callable[[Evaluation], dict[str, float]]
