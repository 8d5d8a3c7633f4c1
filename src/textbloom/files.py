"""Writing that is whole or absent: a temporary name beside the target, flushed to disk, then renamed."""

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from textbloom.errors import UserError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it becomes `path` in one rename, on failure it is removed.

    The temporary name is fixed, so that what a kill leaves behind is overwritten by the next run. A folder made under
    the temporary name replaces a folder.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # The suffix stays last: writers such as matplotlib choose the format by it.
    temporary = path.with_name(f".partial-{path.name}")
    _remove(temporary)
    try:
        yield temporary
        if temporary.is_dir():
            _remove(path)
        else:
            with open(temporary, "rb") as file:
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        _remove(temporary)
        raise


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Sorted, indented, floats as given: equal values give equal bytes. NaN and infinity are refused (ValueError)."""
    write_text(path, json.dumps(values, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n")


def save_tensors(path: Path, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, Any] | None = None) -> None:
    """Write a safetensors file. Equal tensors and metadata give equal bytes."""
    # safetensors keeps metadata in a map of no fixed order, so all of it goes under one key.
    header = {"textbloom": json.dumps(metadata, sort_keys=True)} if metadata else None
    with replacing(path) as temporary:
        save_file({name: t.detach().cpu().contiguous() for name, t in tensors.items()}, temporary, metadata=header)


def load_tensors(path: Path, device: str = "cpu") -> dict[str, torch.Tensor]:
    """Read every tensor of a safetensors file; a missing or damaged file is a UserError."""
    with _opened(path, device) as file:
        return {name: file.get_tensor(name) for name in file}


def load_metadata(path: Path) -> dict[str, Any]:
    """The metadata that `save_tensors` was given."""
    with _opened(path, "cpu") as file:
        return json.loads((file.metadata() or {}).get("textbloom", "{}"))


def load_image_ids(path: Path) -> np.ndarray:
    """The `image_id` column of image_ids.csv, int64 [N]: the order of the rows of images.safetensors."""
    try:
        return np.loadtxt(path, dtype=np.int64, skiprows=1, ndmin=1)
    except FileNotFoundError:
        raise UserError(f"{path} is missing: run `make repro`, which makes it") from None


@contextmanager
def _opened(path: Path, device: str) -> Iterator[Any]:
    try:
        with safe_open(path, framework="pt", device=device) as file:
            yield file
    except FileNotFoundError:
        raise UserError(f"{path} is missing: run `make repro`, which makes it") from None
    except SafetensorError as error:
        raise UserError(f"{path} is damaged ({error}): delete it and run `make repro`") from None
