"""Tensor files: safetensors with a checksum and JSON metadata, equal bytes for equal content."""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save, save_file

from textbloom.core import checksum, tables
from textbloom.core.errors import FULL, UserError
from textbloom.core.files import REMAKE, refuse_pointer, replacing


def save_tensors(path: Path, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, Any] | None = None) -> None:
    """Write a safetensors file. Equal tensors and metadata give equal bytes."""
    # safetensors keeps metadata in a map of no fixed order, so all of it goes under one key.
    header = {"textbloom": checksum.BLANK + json.dumps(metadata or {}, sort_keys=True)}
    with replacing(path) as temporary:
        try:
            save_file(_plain(tensors), temporary, metadata=header)
        except SafetensorError as error:
            # The library gives the system's error as text alone.
            for number in FULL:
                if f"(os error {number})" in str(error):
                    raise OSError(number, os.strerror(number), str(path)) from None
            raise
        checksum.record(temporary)
        temporary.chmod(0o644)  # the library writes 0600, which another user of the cache could not read


def sha256_of(tensors: Mapping[str, torch.Tensor]) -> str:
    """The sha256 of a safetensors file of these alone."""
    return hashlib.sha256(save(_plain(tensors))).hexdigest()


def _plain(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}


def load_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Read every tensor of a safetensors file; a missing or damaged file is a UserError."""
    with _opened(path) as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)


def load_rows(path: Path, name: str, rows: Sequence[int]) -> torch.Tensor:
    """Only these rows of the tensor `name`, [len(rows), …], in their order; the others are not read."""
    with _opened(path) as file:
        stored = file.get_slice(name)
        return torch.stack([stored[row] for row in rows])


def shape_of(path: Path, name: str) -> tuple[int, ...]:
    """The shape of the tensor `name`, which is not read."""
    with _opened(path) as file:
        return tuple(file.get_slice(name).get_shape())


def load_metadata(path: Path) -> dict[str, Any]:
    """The metadata that `save_tensors` was given."""
    with _opened(path) as file:
        header = file.metadata() or {"textbloom": "{}"}
    try:
        return json.loads(checksum.without(header["textbloom"]))
    except (KeyError, ValueError):
        raise UserError(f"{path} is damaged (its metadata): {checksum.MEND}") from None


def load_image_ids(path: Path) -> np.ndarray:
    """The `image_id` column of image_ids.csv, int64 [N]: the order of the rows of images.safetensors."""
    return np.array(tables.read(path, tables.IMAGE_IDS)["image_id"], dtype=np.int64)


def to_uint8(pictures: torch.Tensor) -> torch.Tensor:
    """Pictures in [-1, 1] as uint8 in 0 to 255, rounded to the nearest."""
    return pictures.float().add(1.0).mul(127.5).round().clamp(0, 255).to(torch.uint8)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        checksum.check(path)
        with safe_open(path, framework="pt") as file:
            yield file
    except FileNotFoundError:
        raise UserError(f"{path} is missing: {REMAKE}") from None
    except SafetensorError as error:
        refuse_pointer(path)
        raise UserError(f"{path} is damaged ({error}): {checksum.MEND}") from None
