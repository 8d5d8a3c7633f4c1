"""How the archives of each data set come into data/raw/: fetched, or drawn."""

from dataclasses import asdict, dataclass
from pathlib import Path

import pooch

from textbloom.datasets import drawn, fetch, flowers102, registry
from textbloom.datasets.fetch import Entry
from textbloom.files import replacing, write_json

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Fetching:
    """From where and how strictly archives are fetched; `fetch.fetch_all` says what the values mean."""

    mirror: str | None
    checksums: str
    keep: Path


@dataclass(frozen=True)
class Drawing:
    """How many pictures the drawn data set has, and the seed of the drawing."""

    count: int
    seed: int


def obtain(dataset: str, folder: Path, fetching: Fetching, drawing: Drawing) -> dict[str, Entry]:
    """Fill `folder` with the data set's archives, every one readable to its end, and manifest.json; returns the latter.

    The folder is whole or absent. Raises UserError for an unknown data set and for archives that cannot be had.
    """
    reader = registry.open_dataset(dataset)
    with replacing(folder) as temporary:
        temporary.mkdir()
        entries = _SOURCES[dataset](temporary, fetching, drawing)
        reader.verify(temporary)
        write_json(
            temporary / MANIFEST,
            {"dataset": dataset, "files": {name: asdict(entry) for name, entry in entries.items()}},
        )
    return entries


def _flowers102(folder: Path, fetching: Fetching, drawing: Drawing) -> dict[str, Entry]:
    return fetch.fetch_all(flowers102.FILES, folder, fetching.keep, fetching.mirror, fetching.checksums)


def _drawn(folder: Path, fetching: Fetching, drawing: Drawing) -> dict[str, Entry]:
    drawn.write(folder, drawing.count, drawing.seed)
    return {
        path.name: Entry("drawn", path.stat().st_size, pooch.file_hash(str(path), "sha256"))
        for path in sorted(folder.iterdir())
    }


_SOURCES = {"drawn": _drawn, "flowers102": _flowers102}
