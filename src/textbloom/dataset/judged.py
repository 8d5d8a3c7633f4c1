"""Which pictures a generator is judged by: held-out ones, or, where none were held out, a part of the training ones."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from textbloom.dataset import prepared
from textbloom.dataset.prepared import Prepared, read_captions


@dataclass(frozen=True)
class Judged:
    """Pictures that generated ones are compared with, and other real ones, which a measure may learn from.

    pictures: those of split `test`, or a half of the training pictures where no picture is of split `test`.
    others: the training pictures that are not among them.
    seen: whether training saw `pictures`.
    """

    pictures: Prepared
    others: Prepared
    seen: bool

    @property
    def split(self) -> str:
        """What to call `pictures`: `test`, or `train`."""
        return "train" if self.seen else "test"

    @property
    def training_images(self) -> Tensor:
        """All that training saw, uint8 [M, 3, S, S]."""
        others = self.others.images.all()
        return torch.cat([self.pictures.images.all(), others]) if self.seen else others


def load(captions: Path, images: Path, image_ids: Path, embeddings: Path, seed: int, size: int) -> Judged:
    """The two sides of the prepared data; no picture, nor an equal one, is on both where training pictures are halved.

    `size`: the generator's, to which larger pictures are reduced. Raises UserError as `prepared.load` does.
    """
    files = (captions, images, image_ids, embeddings)
    training = prepared.load(*files, splits=("train", "val")).at(size)
    if "test" in set(read_captions(captions)["split"]):
        return Judged(prepared.load(*files, splits=("test",)).at(size), training, seen=False)
    first, second = _halves(training.images.all(), seed)
    return Judged(training.subset(first), training.subset(second), seen=True)


def _halves(images: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Indices of a random half of pictures uint8 [N, 3, S, S] and of the rest, each ascending."""
    # In the order of their hashes equal pictures are neighbours, so that one cut parts no others.
    keys = [hashlib.sha256(b"%d/" % seed + image.numpy().tobytes()).digest() for image in images]
    order = sorted(range(len(keys)), key=keys.__getitem__)
    cut = len(order) // 2
    while 0 < cut < len(order) and keys[order[cut]] == keys[order[cut - 1]]:
        cut += 1
    return torch.tensor(order[:cut]).sort().values, torch.tensor(order[cut:]).sort().values
