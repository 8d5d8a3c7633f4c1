"""Which real pictures a generator is evaluated with: held-out ones, or a part of the training ones where none are."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from textbloom.core.errors import UserError
from textbloom.dataset import prepared
from textbloom.dataset.prepared import Prepared, read_captions


@dataclass(frozen=True)
class EvalSplit:
    """The pictures that generated ones are compared with, and the other real ones, which a measure may learn from.

    split: what to call `pictures`: `val`, `test`, or `train` where they are a half of the training pictures.
    pictures: those of `split`.
    others: the training pictures that are not among them.
    seen: whether training saw `pictures`.
    """

    split: str
    pictures: Prepared
    others: Prepared
    seen: bool

    @property
    def training_images(self) -> Tensor:
        """All pictures that training saw, uint8 [M, 3, S, S]."""
        others = self.others.images.all()
        return torch.cat([self.pictures.images.all(), others]) if self.seen else others


def load_eval_split(
    files: tuple[Path, Path, Path, Path], *, split: str, train_splits: Sequence[str], seed: int, size: int
) -> EvalSplit:
    """The pictures of `split`, and those of `train_splits` as the others; `files` are those that `prepared.load` takes.

    Where all pictures are of `train_splits`, a random half of them takes the place of the held-out ones; equal pictures
    are then in one half. `size` is the generator's, to which larger pictures are reduced. Raises UserError as
    `prepared.load` does, and where pictures are held out, but not in `split`.
    """
    assert split not in train_splits
    training = prepared.load(*files, splits=train_splits).at(size)
    held_out = set(read_captions(files[0])["split"]) - set(train_splits)
    if split in held_out:
        return EvalSplit(split, prepared.load(*files, splits=(split,)).at(size), training, seen=False)
    if held_out:
        raise UserError(
            f"evaluate.split: {files[0]} has no picture of split {split}, but of {' and '.join(sorted(held_out))}; "
            "change evaluate.split or data.split"
        )
    first, second = _halves(training.images.all(), seed)
    return EvalSplit("train", training.subset(first), training.subset(second), seen=True)


def _halves(images: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Indices of a random half of pictures uint8 [N, 3, S, S] and of the rest, each ascending."""
    # Sorted by a hash of their pixels, equal pictures lie side by side, so that one cut separates no others.
    keys = [hashlib.sha256(b"%d/" % seed + image.numpy().tobytes()).digest() for image in images]
    order = sorted(range(len(keys)), key=keys.__getitem__)
    cut = len(order) // 2
    while 0 < cut < len(order) and keys[order[cut]] == keys[order[cut - 1]]:
        cut += 1
    return torch.tensor(order[:cut]).sort().values, torch.tensor(order[cut:]).sort().values
