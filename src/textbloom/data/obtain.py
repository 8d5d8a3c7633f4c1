"""How the archives of each data set come into data/raw/: fetched, drawn, or packed."""

from dataclasses import asdict, dataclass
from pathlib import Path

import pooch

from textbloom.core.files import replacing, write_json
from textbloom.data import cub200, fetch, flowers102, own_pictures, registry
from textbloom.data.fetch import Entry
from textbloom.data.transfer import Patience
from textbloom.sources import drawn

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Fetching:
    """From where and how strictly archives are fetched; `fetch.fetch_first` says what the values mean."""

    mirror: str | None
    checksums: str
    keep: Path
    patience: Patience = fetch.PATIENCE


@dataclass(frozen=True)
class Drawing:
    """How many pictures the drawn data set has, and the seed of the drawing."""

    count: int
    seed: int


@dataclass(frozen=True)
class Packing:
    """The folder of a person's own pictures with captions."""

    path: Path


def obtain(dataset: str, folder: Path, fetching: Fetching, drawing: Drawing, packing: Packing) -> dict[str, Entry]:
    """Fill `folder` with the data set's archives, every one readable to its end, and manifest.json; returns the latter.

    The folder is whole or absent. Raises UserError for an unknown data set and for archives that cannot be had.
    """
    reader = registry.open_dataset(dataset)
    with replacing(folder) as temporary:
        temporary.mkdir()
        entries = _SOURCES[dataset](temporary, fetching, drawing, packing)
        reader.verify(temporary)
        write_json(
            temporary / MANIFEST,
            {"dataset": dataset, "files": {name: asdict(entry) for name, entry in entries.items()}},
        )
    return entries


def _flowers102(folder: Path, fetching: Fetching, drawing: Drawing, packing: Packing) -> dict[str, Entry]:
    return fetch.fetch_first(flowers102.SOURCES, folder, **vars(fetching))


def _cub200(folder: Path, fetching: Fetching, drawing: Drawing, packing: Packing) -> dict[str, Entry]:
    return fetch.fetch_all(cub200.FILES, folder, **vars(fetching))


def _drawn(folder: Path, fetching: Fetching, drawing: Drawing, packing: Packing) -> dict[str, Entry]:
    drawn.write(folder, drawing.count, drawing.seed)
    return _made(folder, "drawn")


def _folder(folder: Path, fetching: Fetching, drawing: Drawing, packing: Packing) -> dict[str, Entry]:
    own_pictures.pack(packing.path, folder)
    return _made(folder, "packed")


def _made(folder: Path, how: str) -> dict[str, Entry]:
    return {
        path.name: Entry(how, path.stat().st_size, pooch.file_hash(str(path), "sha256"))
        for path in sorted(folder.iterdir())
    }


_SOURCES = {"drawn": _drawn, "flowers102": _flowers102, "cub200": _cub200, "folder": _folder}
