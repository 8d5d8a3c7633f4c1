"""A small prepared data set: the outputs of the captions, images and embed stages."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from textbloom.core.files import write_text
from textbloom.core.tensors import save_tensors


class Files:
    """Pictures numbered from 1, each of the colour of its number, with its number in its caption and its embedding."""

    def __init__(self, folder: Path) -> None:
        self.captions, self.image_ids = folder / "captions.csv", folder / "image_ids.csv"
        self.images, self.embeddings = folder / "images.safetensors", folder / "embeddings.safetensors"

    def write(self, splits: Sequence[str], captions_each: int = 1, size: int = 8) -> None:
        ids = range(1, len(splits) + 1)
        rows = [
            f"{i},{i % 7},{split},{index},flower {i} {index}"
            for i, split in zip(ids, splits, strict=True)
            for index in range(captions_each)
        ]
        write_text(self.captions, "\n".join(["image_id,class_id,split,caption_index,caption", *rows, ""]))
        write_text(self.image_ids, "\n".join(["image_id", *map(str, ids), ""]))
        numbers = torch.tensor(ids)
        pictures = numbers.to(torch.uint8)[:, None, None, None].expand(-1, 3, size, size)
        save_tensors(self.images, {"images": pictures})
        of_rows = numbers.repeat_interleave(captions_each).float() + torch.arange(captions_each).repeat(len(ids)) / 10
        save_tensors(self.embeddings, {"embeddings": of_rows[:, None]})

    @property
    def all(self) -> tuple[Path, Path, Path, Path]:
        return self.captions, self.images, self.image_ids, self.embeddings


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)
