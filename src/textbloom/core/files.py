"""Atomic writes: to a temporary name beside the target, flushed to disk, then renamed."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from textbloom.core.errors import UserError

_POINTER = b"version https://git-lfs.github.com/spec/"
REMAKE = "run `make repro`, which makes it"


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
        # Before the rename, lest a power cut leave the name without the content; and the rename itself after.
        for made in [*temporary.rglob("*"), temporary]:
            _flush(made)
        if temporary.is_dir():
            _replace_folder(temporary, path)
        else:
            os.replace(temporary, path)
        _flush(path.parent)
    except BaseException:
        _remove(temporary)
        raise


def _replace_folder(temporary: Path, path: Path) -> None:
    """The earlier folder is put aside rather than emptied file by file: a kill leaves it whole, or no folder."""
    aside = path.with_name(f".partial-old-{path.name}")
    _remove(aside)
    if path.exists():
        os.replace(path, aside)
    os.replace(temporary, path)
    _remove(aside)


def _flush(path: Path) -> None:
    """Have the disk hold a file's content, or a folder's list of names."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def refuse_pointer(path: Path | str, content: bytes | None = None) -> None:
    """Raise UserError where a file is only what Git LFS puts in its place until it is asked for the file itself.

    content: of the file, where it is read already.
    """
    if content is None:
        with open(path, "rb") as file:
            content = file.read(len(_POINTER))
    if content.startswith(_POINTER):
        raise UserError(f"{path} is only Git LFS's pointer to the file: run `git lfs pull` in its folder")


def read_text(path: Path, mend: str = REMAKE) -> str:
    """The text of a UTF-8 file. One that is missing, or a line that is not UTF-8, is a UserError with the `mend`."""
    try:
        content = path.read_bytes()
        refuse_pointer(path, content)
        return content.decode()
    except FileNotFoundError:
        raise UserError(f"{path} is missing: {mend}") from None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        byte = error.object[error.start]
        raise UserError(f"{path}: line {line}: byte 0x{byte:02x} is not UTF-8: save it as UTF-8, or {mend}") from None


def read_json(path: Path, mend: str = REMAKE) -> dict[str, Any]:
    """The object that a JSON file holds; one that is missing or damaged is a UserError with the `mend`."""
    try:
        found = json.loads(read_text(path, mend))
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}): {mend}") from None
    if not isinstance(found, dict):
        raise UserError(f"{path} is damaged (no object): {mend}")
    return found


def write_text(path: Path, text: str) -> None:
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Sorted, indented, floats as given: equal values give equal bytes. NaN and infinity are refused (ValueError)."""
    write_text(path, json.dumps(values, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n")


def sha256(path: Path) -> str:
    """The sha256 of a file's bytes, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
