"""The prepared data as the later stages see it: pictures, caption rows and embeddings, joined by image id."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor

from textbloom.core import tables
from textbloom.core.errors import MORE_PICTURES, UserError
from textbloom.core.tensors import load_image_ids, load_tensors


class Pictures:
    """Pictures uint8 [N, 3, S, S]: rows of a tensor that may lie in a file, where those not asked for stay unread."""

    def __init__(self, stored: Tensor, rows: Tensor | None = None) -> None:
        """`stored`: uint8 [M, 3, S, S]; `rows`: int64 [N], those meant, None: all."""
        self._stored = stored
        self._rows = torch.arange(len(stored)) if rows is None else rows

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def size(self) -> int:
        """S, in pixels."""
        return self._stored.shape[-1]

    @property
    def bytes(self) -> int:
        """What all of them take in memory."""
        return len(self) * self._stored[0].nbytes

    def __getitem__(self, rows: Tensor | list[int]) -> Tensor:
        """A copy of the pictures `rows`, [len(rows), 3, S, S]."""
        return self._stored[self._rows[rows]]

    def all(self) -> Tensor:
        """A copy of all, [N, 3, S, S]."""
        return self._stored[self._rows]

    def subset(self, rows: Tensor) -> "Pictures":
        """The pictures `rows`, int64 [n], still unread."""
        return Pictures(self._stored, self._rows[rows])

    def at(self, size: int) -> "Pictures":
        """The same pictures [N, 3, size, size], area averages; `size` is theirs or a whole fraction of it."""
        if size == self.size:
            return self
        chunks = torch.arange(len(self)).split(1024)
        return Pictures(torch.cat([reduced(self[chunk].float(), size).round().to(torch.uint8) for chunk in chunks]))


@dataclass(frozen=True)
class Prepared:
    """Pictures of some splits with their captions.

    images: N pictures, ordered by image id.
    image_ids: int64 [N].
    class_ids: int64 [N].
    captions: N lists, each of an image's captions in order, at least one.
    embeddings: float32 [R, D], R captions in all, image by image.
    first_row: int64 [N], the row in `embeddings` of each image's first caption.
    larger: the same N pictures with a longer side, of which training cuts random squares; None: it takes them whole.
    """

    images: Pictures
    image_ids: np.ndarray
    class_ids: np.ndarray
    captions: list[list[str]]
    embeddings: Tensor
    first_row: Tensor
    larger: Pictures | None = None

    def __len__(self) -> int:
        return len(self.image_ids)

    @property
    def first_captions(self) -> list[str]:
        """The first caption of each image, N strings."""
        return [captions[0] for captions in self.captions]

    @property
    def first_embeddings(self) -> Tensor:
        """The embedding of each image's first caption, float32 [N, D]."""
        return self.embeddings[self.first_row]

    @property
    def caption_counts(self) -> Tensor:
        """Captions of each image, int64 [N]."""
        return torch.tensor([len(captions) for captions in self.captions])

    @property
    def caption_ids(self) -> Tensor:
        """A number for the text of each row of `embeddings`, int64 [R]: equal exactly where captions read the same."""
        texts = [caption for captions in self.captions for caption in captions]
        return torch.from_numpy(pd.factorize(np.array(texts, dtype=object))[0].astype(np.int64))

    def at(self, size: int) -> "Prepared":
        """The same with pictures [N, 3, size, size] and none larger, area averages; `size` is a whole fraction."""
        return replace(self, images=self.images.at(size), larger=None)

    def subset(self, rows: Tensor) -> "Prepared":
        """The images of `rows`, int64 [n], ascending so that they stay ordered."""
        counts = self.caption_counts[rows]
        image_of_caption = torch.arange(len(self)).repeat_interleave(self.caption_counts)
        return Prepared(
            images=self.images.subset(rows),
            image_ids=self.image_ids[rows.numpy()],
            class_ids=self.class_ids[rows.numpy()],
            captions=[self.captions[row] for row in rows.tolist()],
            embeddings=self.embeddings[torch.isin(image_of_caption, rows)],
            first_row=counts.cumsum(0) - counts,
            larger=self.larger and self.larger.subset(rows),
        )


def reduced(images: Tensor, size: int) -> Tensor:
    """Pictures float [n, 3, S, S] to [n, 3, size, size] by area averages; S is a multiple of `size`."""
    factor = images.shape[-1] // size
    return images if factor == 1 else F.avg_pool2d(images, factor)


def read_captions(path: Path) -> pd.DataFrame:
    """data/captions.csv, every caption a string (one that reads "nan" too)."""
    return pd.DataFrame(tables.read(path, tables.CAPTIONS))


def load(captions: Path, images: Path, image_ids: Path, embeddings: Path, splits: Collection[str]) -> Prepared:
    """Join the outputs of the captions, images and embed stages and keep the images of `splits`.

    Raises UserError where the files do not fit together or no image is left.
    """
    rows = read_captions(captions)
    vectors = load_tensors(embeddings)["embeddings"]
    ids = load_image_ids(image_ids)
    pictures = load_tensors(images)
    if len(rows) != len(vectors):
        raise UserError(f"{embeddings} has {len(vectors)} rows, {captions} {len(rows)}: run `make repro`")
    ordered = rows["image_id"].is_monotonic_increasing
    if len(ids) != len(pictures["images"]) or not ordered or not np.array_equal(ids, rows["image_id"].unique()):
        raise UserError(f"{images}, {image_ids} and {captions} are not of the same images by id: run `make repro`")

    kept = rows[rows["split"].isin(list(splits))]
    if kept.empty:
        raise UserError(f"{captions} has no image of split {' or '.join(splits)}: {MORE_PICTURES} or change data.split")
    # Lists made by pandas' groups would take minutes for a million images.
    kept_ids, first_row, counts = np.unique(kept["image_id"].to_numpy(), return_index=True, return_counts=True)
    stored = {name: Pictures(of, torch.from_numpy(np.searchsorted(ids, kept_ids))) for name, of in pictures.items()}
    texts = kept["caption"].tolist()
    return Prepared(
        images=stored["images"],
        image_ids=kept_ids,
        class_ids=kept["class_id"].to_numpy(dtype=np.int64)[first_row],
        captions=[texts[row : row + count] for row, count in zip(first_row, counts, strict=True)],
        embeddings=vectors[torch.tensor(kept.index.to_numpy())],
        first_row=torch.from_numpy(first_row),
        larger=stored.get("larger"),
    )
