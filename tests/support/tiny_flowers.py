"""A data set of six pictures in the layout of Oxford-102, for tests to read and to break."""

import gzip
import io
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat

from textbloom.data import flowers102

LABELS = (3, 3, 1, 1, 2, 2)
SPLIT_OF_CLASS = {1: "train", 2: "val", 3: "test"}
SETS = {"trnid": [1, 4], "valid": [2], "tstid": [3, 5, 6]}


def photo_name(image_id: int) -> str:
    return f"jpg/image_{image_id:05d}.jpg"


def caption_name(image_id: int, class_id: int | None = None) -> str:
    class_id = class_id or LABELS[image_id - 1]
    return f"cvpr2016_flowers/text_c10/class_{class_id:05d}/image_{image_id:05d}.txt"


def jpeg(seed: int, width: int = 90, height: int = 60) -> bytes:
    """A smooth random picture, as photos are."""
    noise = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC).save(file, "JPEG", quality=95)
    return file.getvalue()


def photos() -> dict[str, bytes]:
    return {photo_name(id_): jpeg(id_) for id_ in range(1, len(LABELS) + 1)}


def texts() -> dict[str, bytes]:
    members = {
        caption_name(id_): f"flower {id_} is red\nit has {id_} petals\n".encode() for id_ in range(1, len(LABELS) + 1)
    }
    for class_id, split in SPLIT_OF_CLASS.items():
        members[f"cvpr2016_flowers/{split}classes.txt"] = f"class_{class_id:05d}\n".encode()
    return members


def write_archive(path: Path, members: Mapping[str, bytes] | list[tuple[tarfile.TarInfo, bytes]]) -> None:
    """A tar.gz of named contents, or of ready-made headers with contents."""
    if isinstance(members, Mapping):
        members = [(tarfile.TarInfo(name), content) for name, content in members.items()]
    with gzip.open(path, "wb") as zipped, tarfile.open(fileobj=zipped, mode="w|") as tar:
        for header, content in members:
            header.size = len(content)
            tar.addfile(header, io.BytesIO(content))


def write(
    folder: Path,
    photos_: Mapping[str, bytes] | None = None,
    texts_: Mapping[str, bytes] | None = None,
    sets: Mapping[str, list[int]] | None = None,
) -> Path:
    """All four files, the given contents in place of the sound ones; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    write_archive(folder / flowers102.PHOTOS, photos() if photos_ is None else photos_)
    write_archive(folder / flowers102.CAPTIONS, texts() if texts_ is None else texts_)
    # compressed, as the published ones are
    savemat(folder / flowers102.LABELS, {"labels": np.array([LABELS], dtype=np.uint8)}, do_compression=True)
    savemat(
        folder / flowers102.SETS,
        {name: np.array([ids], dtype=np.uint16) for name, ids in (SETS if sets is None else sets).items()},
        do_compression=True,
    )
    return folder


def photos_and_texts(lead: str = "cvpr2016_flowers/") -> dict[str, bytes]:
    """The members of the zip that is the second source."""
    return {f"{lead}images/image_{id_:05d}.jpg": jpeg(id_) for id_ in range(1, len(LABELS) + 1)} | {
        f"{lead}captions/image_{id_:05d}.txt": texts()[caption_name(id_)] for id_ in range(1, len(LABELS) + 1)
    }


def write_zip(path: Path, members: Mapping[str, bytes] | list[tuple[zipfile.ZipInfo, bytes]]) -> None:
    """A zip of named contents, or of ready-made headers with contents."""
    if isinstance(members, Mapping):
        members = [(zipfile.ZipInfo(name), content) for name, content in members.items()]
    with zipfile.ZipFile(path, "w") as archive:
        for header, content in members:
            archive.writestr(header, content, zipfile.ZIP_STORED if header.is_dir() else zipfile.ZIP_DEFLATED)


def write_second(folder: Path, members: Mapping[str, bytes] | None = None, extras: bool = False) -> Path:
    """The zip of the second source, with Oxford's labels and sets as `extras` or without; returns the folder."""
    write(folder)
    (folder / flowers102.PHOTOS).unlink()
    (folder / flowers102.CAPTIONS).unlink()
    if not extras:
        (folder / flowers102.LABELS).unlink()
        (folder / flowers102.SETS).unlink()
    write_zip(folder / flowers102.BOTH, photos_and_texts() if members is None else members)
    return folder
