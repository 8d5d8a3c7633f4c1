"""A look at the prepared data before anything is trained on it: a contact sheet with captions, and counts."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from torch import Tensor

from textbloom.core.tables import SPLITS
from textbloom.viz.sheet import Row, Sheet

SHOWN = 32
COLUMNS = 8


def counts(rows: pd.DataFrame, image_size: int) -> dict[str, int]:
    """What metrics/data.json holds: images, captions and classes in all and of each split.

    rows: the table of captions.csv. Captions that read the same count once in `captions_distinct`; class 0 is no class.
    """
    of_image = rows.groupby("image_id").size()
    found = {
        "captions": len(rows),
        "captions_distinct": rows["caption"].nunique(),
        "captions_per_image_max": int(of_image.max()),
        "captions_per_image_min": int(of_image.min()),
        "classes": _classes(rows),
        "image_size": image_size,
        "images": len(of_image),
    }
    for split in SPLITS:
        part = rows[rows["split"] == split]
        found |= {f"images_{split}": part["image_id"].nunique(), f"classes_{split}": _classes(part)}
    return found


def _classes(rows: pd.DataFrame) -> int:
    return rows.loc[rows["class_id"] != 0, "class_id"].nunique()


def choose(rows: pd.DataFrame, count: int = SHOWN) -> pd.DataFrame:
    """The first captions of `count` images, or of all where there are fewer: [image_id, class_id, split, caption].

    Every split has its share, at least one image; its images are evenly spaced along its classes. Nothing is drawn, so
    that the choice follows the data alone.
    """
    firsts = rows.groupby("image_id", sort=True).first().reset_index()
    parts = {split: firsts[firsts["split"] == split] for split in SPLITS if (firsts["split"] == split).any()}
    shares = _shares([len(part) for part in parts.values()], min(count, len(firsts)))
    chosen = []
    for part, share in zip(parts.values(), shares, strict=True):
        middles = (np.arange(share) + 0.5) * len(part) / share
        chosen.append(part.sort_values(["class_id", "image_id"]).iloc[middles.astype(int)])
    return pd.concat(chosen)[["image_id", "class_id", "split", "caption"]]


def _shares(sizes: Sequence[int], total: int) -> list[int]:
    """`total` divided in proportion to `sizes`, each at least 1 and at most its size (highest averages, D'Hondt)."""
    shares = [1] * len(sizes)
    while sum(shares) < total:
        shares[max(range(len(sizes)), key=lambda place: sizes[place] / (shares[place] + 1))] += 1
    return shares


def contact_sheet(pictures: Tensor, shown: pd.DataFrame, numbers: dict[str, int]) -> Sheet:
    """Pictures uint8 [n, 3, S, S], each with its class, split and caption beneath.

    shown: n rows of `choose`; numbers: of `counts`, for the lines under the title.
    """
    labels = zip(shown["class_id"].tolist(), shown["split"].tolist(), strict=True)
    tags = [f"class {class_id} · {split}" if class_id else split for class_id, split in labels]
    captions = shown["caption"].tolist()
    parts = [slice(start, start + COLUMNS) for start in range(0, len(pictures), COLUMNS)]
    rows = [Row(pictures[part], beneath=captions[part], tags=tags[part]) for part in parts]
    splits = ", ".join(_part(split, numbers) for split in SPLITS if numbers[f"images_{split}"])
    note = (
        f"{numbers['images']:,} pictures at {numbers['image_size']}×{numbers['image_size']} with "
        f"{numbers['captions']:,} captions, {numbers['captions_distinct']:,} different: {splits}. "
        f"Shown: {len(pictures)}, each with its first caption, spread over splits and classes."
    )
    return Sheet(rows, title="The prepared data", note=note, gap=20, row_gap=26, tile=160)


def _part(split: str, numbers: dict[str, int]) -> str:
    images, classes = numbers[f"images_{split}"], numbers[f"classes_{split}"]
    return f"{split} {images:,}" + (f" of {classes:,} class{'es' if classes > 1 else ''}" if classes else "")
