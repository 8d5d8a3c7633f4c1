"""Flowers drawn from attributes, with captions that tell of them, in the archive layout of Oxford-102.

They are a controlled benchmark: the attributes are kept, so whether a generated picture has the colours that its
caption names can be measured exactly. Every byte depends on the number of flowers and the seed alone.
"""

import io
import json
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from scipy.io import savemat

from textbloom.core.files import replacing, write_text
from textbloom.core.progress import progress
from textbloom.data import flowers102
from textbloom.data.archives import write_archive
from textbloom.data.base import Options
from textbloom.sources.drawn import captions, painter
from textbloom.sources.drawn.attributes import (
    BETWEEN_PETALS,
    CENTRE_COLOURS,
    CLASSES,
    PETAL_COLOURS,
    Flower,
    class_ids,
    sample,
    split,
)

ATTRIBUTES = "attributes.csv"  # a row for each flower
PALETTE = "palette.json"  # the colours that their names stand for

_TEXT = "cvpr2016_flowers"
_MATLAB_HEADER = b"MATLAB 5.0 MAT-file, drawn by textbloom".ljust(116)  # bytes of free text before the format's own
# Purposes of an image's random streams: a change of the wording leaves the pictures alone.
_ATTRIBUTES, _PAINT, _WORDS = 1, 2, 3


def obtain(folder: Path, options: Options) -> dict[str, str]:
    """Draw flowers 1 to `options.count` into `folder`: the four files of Oxford-102, attributes.csv and palette.json.

    The bytes depend on `count` and `seed` alone, not on the processor; the first pictures of a longer set are those of
    a shorter one. Needs 1 <= count <= 99999.
    """
    seed = options.seed
    flowers = [
        sample(_stream(seed, image_id, _ATTRIBUTES), image_id, class_id)
        for image_id, class_id in enumerate(class_ids(options.count, seed), start=1)
    ]
    _write_photos(folder / flowers102.PHOTOS, flowers, seed)
    _write_captions(folder / flowers102.CAPTIONS, flowers, seed)
    _write_labels_and_sets(folder, flowers)
    write_text(folder / ATTRIBUTES, pd.DataFrame(flowers).to_csv(index=False, lineterminator="\n"))
    # The colours in sRGB: in shadow, in even light, in full light; and what shows between petals.
    palette = {"petal": PETAL_COLOURS, "centre": CENTRE_COLOURS, "between_petals": BETWEEN_PETALS}
    write_text(folder / PALETTE, json.dumps(palette) + "\n")
    return {path.name: "drawn" for path in sorted(folder.iterdir())}


def _stream(seed: int, image_id: int, purpose: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, image_id, purpose])))


def _write_photos(path: Path, flowers: list[Flower], seed: int) -> None:
    def jpeg(flower: Flower) -> bytes:
        buffer = io.BytesIO()
        picture = painter.paint(flower, _stream(seed, flower.image_id, _PAINT))
        Image.fromarray(picture).save(buffer, "JPEG", quality=92, subsampling=0)
        return buffer.getvalue()

    drawing = progress(flowers, "drawing", "flowers")
    write_archive(path, ((f"jpg/image_{flower.image_id:05d}.jpg", jpeg(flower)) for flower in drawing))


def _write_captions(path: Path, flowers: list[Flower], seed: int) -> None:
    members = {
        f"{_TEXT}/text_c10/{_class_name(flower.class_id)}/image_{flower.image_id:05d}.txt": "\n".join(
            captions.captions(flower, _stream(seed, flower.image_id, _WORDS))
        )
        for flower in flowers
    }
    everything = range(1, len(CLASSES) + 1)
    for name, splits in {"train": ["train"], "val": ["val"], "test": ["test"], "trainval": ["train", "val"]}.items():
        members[f"{_TEXT}/{name}classes.txt"] = "\n".join(_class_name(c) for c in everything if split(c) in splits)
    write_archive(path, ((name, (members[name] + "\n").encode()) for name in sorted(members)))


def _class_name(class_id: int) -> str:
    return f"class_{class_id:05d}"


def _write_labels_and_sets(folder: Path, flowers: list[Flower]) -> None:
    labels = np.array([[flower.class_id for flower in flowers]], np.uint8)
    _write_matlab(folder / flowers102.LABELS, {"labels": labels})
    # Oxford's lists divide the pictures of every class: here 7 : 1 : 2.
    parts: dict[str, list[int]] = {"trnid": [], "valid": [], "tstid": []}
    for flower in flowers:
        turn = ((flower.image_id - 1) // len(CLASSES) + flower.class_id) % 10
        parts["tstid" if turn in (0, 5) else "valid" if turn == 3 else "trnid"].append(flower.image_id)
    width = np.uint16 if len(flowers) < 2**16 else np.uint32
    _write_matlab(folder / flowers102.SETS, {name: np.array([ids], width) for name, ids in parts.items()})


def _write_matlab(path: Path, variables: dict[str, np.ndarray]) -> None:
    buffer = io.BytesIO()
    savemat(buffer, variables)
    # The header that SciPy writes holds the time of day.
    content = _MATLAB_HEADER + buffer.getvalue()[len(_MATLAB_HEADER) :]
    with replacing(path) as temporary:
        temporary.write_bytes(content)
