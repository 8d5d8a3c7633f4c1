"""How Oxford-102 was divided by its publishers: by images (Oxford) and by classes (Reed)."""

import re
from collections.abc import Collection
from pathlib import Path

from textbloom.core.errors import UserError
from textbloom.data import archives, class_lists, matlab
from textbloom.data.base import SPLITS
from textbloom.data.class_lists import ClassList

# Reed et al., "Learning deep representations of fine-grained visual descriptions", 2016: 62, 20 and 20 of 102 classes.
REED = (
    dict.fromkeys(range(1, 21), "test") | dict.fromkeys(range(21, 41), "val") | dict.fromkeys(range(41, 103), "train")
)

# 1,020, 1,020 and 6,149 photos: Oxford trains on few and tests on many.
OXFORD_SETS = {"trnid": "train", "valid": "val", "tstid": "test"}

CLASS_LISTS = tuple(f"{split}classes.txt" for split in SPLITS)

_CLASS_LIST = re.compile(rf"(?:\./)?cvpr2016_flowers/(?P<split>{'|'.join(SPLITS)})classes\.txt")
_CLASS = re.compile(r"class_(\d{5})")


def by_class_lists(path: Path) -> dict[int, str]:
    """The split of each class after the lists in Reed's archive. Raises UserError for a class in two lists."""
    lists = (
        ClassList(match["split"], f"{path.name}: {match[0]}", data)
        for match, data in archives.members(path, _CLASS_LIST)
    )
    return class_lists.read(lists, _CLASS, "class_00041")


def by_setid(path: Path, image_ids: Collection[int]) -> dict[int, str]:
    """The split of each image after setid.mat. Raises UserError unless it divides exactly these images."""
    splits: dict[int, str] = {}
    for name, split in OXFORD_SETS.items():
        for image_id in matlab.vector(path, name):
            if image_id in splits:
                raise UserError(f"{path.name}: image {image_id} is listed twice, the second time in {name}: keep one")
            splits[image_id] = split
    odd = sorted(set(image_ids) ^ splits.keys())
    if odd:
        raise UserError(
            f"{path.name} does not list the same images as the rest, first {odd[0]}: use the files of one source"
        )
    return splits
