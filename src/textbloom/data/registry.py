"""The data sets by their names: the reader of each, and the folder of archives that every reader reads."""

from pathlib import Path
from typing import Any

from textbloom.core.errors import UserError
from textbloom.core.files import replacing, sha256, write_json
from textbloom.data import cub200, flowers102, folder
from textbloom.data.archives import MEND
from textbloom.data.base import Dataset, Options, Source, check_same_images

MANIFEST = "manifest.json"

DATASETS: dict[str, Dataset] = {
    "drawn": flowers102,  # written in the layout of Oxford-102
    "flowers102": flowers102,
    "cub200": cub200,
    "folder": folder,
}


def fill(name: str, raw: Path, source: Source, options: Options) -> dict[str, dict[str, Any]]:
    """Make the folder of a data set's archives and its manifest.json; returns what that says of each file.

    The folder is whole, the photos and captions in it read to their ends, or what was there stays.
    """
    with replacing(raw) as temporary:
        temporary.mkdir()
        origins = source.obtain(temporary, options)
        files = {file: _described(temporary / file, origin) for file, origin in origins.items()}
        _verify(DATASETS[name], temporary, ", ".join(files))
        write_json(temporary / MANIFEST, {"dataset": name, "files": files})
    return files


def _described(path: Path, origin: str) -> dict[str, Any]:
    return {"source": origin, "bytes": path.stat().st_size, "sha256": sha256(path)}


def _verify(dataset: Dataset, raw: Path, files: str) -> None:
    """Read every photo and caption, so that damage shows before any stage relies on the files."""
    photos = [photo.image_id for photo in dataset.photos(raw)]
    if not photos:
        raise UserError(f"{files}: there is no photo in them, so they are other archives: {MEND}")
    check_same_images(f"photos and captions in {files}", photos, [entry.image_id for entry in dataset.entries(raw)])
