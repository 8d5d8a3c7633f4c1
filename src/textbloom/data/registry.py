"""The data sets by their names: the reader of each, and the folder of archives that every reader reads."""

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path

from textbloom.core.errors import UserError
from textbloom.core.files import replacing, write_json
from textbloom.data import cub200, flowers102, folder
from textbloom.data.base import Dataset, Options, Source

MANIFEST = "manifest.json"

_DATASETS: dict[str, Dataset] = {
    "drawn": flowers102,  # written in the layout of Oxford-102
    "flowers102": flowers102,
    "cub200": cub200,
    "folder": folder,
}


@dataclass(frozen=True)
class File:
    """A file of the folder as manifest.json tells it: where it came from, its size, its hash."""

    source: str
    bytes: int
    sha256: str


def open_dataset(name: str) -> Dataset:
    """The reader of a data set by its name in `data.dataset`. Raises UserError for an unknown name."""
    if name not in _DATASETS:
        raise UserError(f"data.dataset: {name!r} is unknown; there are: {', '.join(sorted(_DATASETS))}")
    return _DATASETS[name]


def fill(name: str, raw: Path, source: Source, options: Options) -> dict[str, File]:
    """Make the folder of a data set's archives and its manifest.json; returns what that says of each file.

    The folder is whole, every archive in it read to its end, or what was there stays.
    """
    with replacing(raw) as temporary:
        temporary.mkdir()
        files = {
            file: _described(temporary / file, origin) for file, origin in source.obtain(temporary, options).items()
        }
        open_dataset(name).verify(temporary)
        manifest = {"dataset": name, "files": {file: asdict(described) for file, described in files.items()}}
        write_json(temporary / MANIFEST, manifest)
    return files


def _described(path: Path, origin: str) -> File:
    with open(path, "rb") as content:
        return File(origin, path.stat().st_size, hashlib.file_digest(content, "sha256").hexdigest())
