"""Oxford-102 Flowers with Reed's captions, as published; the drawn data set is written in the same layout.

Photos, labels, splits: Nilsback and Zisserman, "Automated flower classification over a large number of classes", 2008.
Captions, class-disjoint lists: Reed et al., "Learning deep representations of fine-grained visual descriptions", 2016.
"""

import re
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from scipy.io import loadmat

from textbloom.datasets import archives, caption_files
from textbloom.datasets.base import SPLITS, Entry, Photo, RemoteFile
from textbloom.errors import UserError

PHOTOS = "102flowers.tgz"
LABELS = "imagelabels.mat"
SETS = "setid.mat"
CAPTIONS = "cvpr2016_flowers.tar.gz"

_OXFORD = ("https://www.robots.ox.ac.uk/~vgg/data/flowers/102/", "https://thor.robots.ox.ac.uk/flowers/102/")
_DRIVE = "https://drive.google.com/uc?id="

FILES = (
    RemoteFile(PHOTOS, tuple(base + PHOTOS for base in _OXFORD), "52808999861908f626f3c1f4e79d11fa"),
    RemoteFile(LABELS, tuple(base + LABELS for base in _OXFORD), "e0620be6f572b9609742df49c70aed4d"),
    RemoteFile(SETS, tuple(base + SETS for base in _OXFORD), "a5357ecc9cb78c4bef273ce3793fc85c"),
    RemoteFile(CAPTIONS, (_DRIVE + "0B0ywwgffWnLLcms2WWJQRFNSWXM",), None),
)

_PHOTO = re.compile(r"(?:\./)?jpg/image_(\d{5})\.jpg")
_TEXT = re.compile(r"(?:\./)?cvpr2016_flowers/text_c10/class_(?P<class>\d{5})/image_(?P<image>\d{5})\.txt")
_CLASS_LIST = re.compile(rf"(?:\./)?cvpr2016_flowers/(?P<split>{'|'.join(SPLITS)})classes\.txt")
_CLASS = re.compile(r"class_(\d{5})")

# 1,020, 1,020 and 6,149 photos: Oxford trains on few and tests on many.
_OXFORD_SETS = {"trnid": "train", "valid": "val", "tstid": "test"}


def photos(folder: Path) -> Iterator[Photo]:
    """Every photo, in the archive's order."""
    for match, data in archives.members(folder / PHOTOS, _PHOTO):
        yield Photo(int(match[1]), match[0], data)


def entries(folder: Path) -> list[Entry]:
    """Every labelled image, sorted by id.

    Raises UserError for an image without a caption, a caption without an image, a caption filed under another class
    than the image's label, and bytes that are not UTF-8.
    """
    labels = dict(enumerate(_vector(folder / LABELS, "labels"), start=1))
    captions = _captions(folder / CAPTIONS, labels)
    missing = sorted(labels.keys() - captions.keys())
    if missing:
        raise UserError(
            f"{CAPTIONS}: image {missing[0]} has no caption file, nor have {len(missing) - 1} more of {LABELS}: "
            "use both files of one source"
        )
    return [Entry(id_, class_id, captions[id_]) for id_, class_id in labels.items()]


def published_split(folder: Path, how: str, entries: Sequence[Entry]) -> dict[int, str]:
    """The split of each image: `class-disjoint` (Reed's lists) or `oxford` (setid.mat).

    Raises UserError for another name, and for an image or a class in no split or in two.
    """
    if how == "oxford":
        return _oxford_splits(folder / SETS, [entry.image_id for entry in entries])
    if how == "class-disjoint":
        class_splits = _class_splits(folder / CAPTIONS)
        return {entry.image_id: _split_of_class(entry.class_id, class_splits) for entry in entries}
    raise UserError(f"data.split: flowers have no split {how!r} of their publishers; there are class-disjoint, oxford")


def verify(folder: Path) -> None:
    """Read all four files to their end."""
    for name, wanted in ((PHOTOS, _PHOTO), (CAPTIONS, _TEXT)):
        if sum(1 for _ in archives.members(folder / name, wanted)) == 0:
            raise UserError(
                f"{name}: no member's name matches {wanted.pattern}: it is another archive; {archives.MEND}"
            )
    for path, names in ((folder / LABELS, ["labels"]), (folder / SETS, list(_OXFORD_SETS))):
        for name in names:
            _vector(path, name)


def _vector(path: Path, name: str) -> list[int]:
    try:
        with open(path, "rb") as file:
            return [int(value) for value in loadmat(file, variable_names=[name])[name].ravel()]
    except FileNotFoundError:
        raise UserError(f"{path.name} is missing: {archives.MEND}") from None
    except Exception as error:  # scipy's reader raises nearly anything on damaged bytes
        raise UserError(f"{path.name}: no readable {name!r} in it ({error!r}): {archives.MEND}") from None


def _captions(path: Path, labels: dict[int, int]) -> dict[int, tuple[str, ...]]:
    captions: dict[int, tuple[str, ...]] = {}
    for match, data in archives.members(path, _TEXT):
        name = f"{path.name}: {match[0]}"
        image_id, class_id = int(match["image"]), int(match["class"])
        if image_id not in labels:
            raise UserError(f"{name}: {LABELS} has no image {image_id}: remove the file or use both of one source")
        if class_id != labels[image_id]:
            raise UserError(f"{name}: filed under class {class_id}, but {LABELS} says {labels[image_id]}: correct one")
        if image_id in captions:
            raise UserError(f"{name}: image {image_id} has a caption file already: remove one of the two")
        captions[image_id] = caption_files.parse(data, name)
    return captions


def _class_splits(path: Path) -> dict[int, str]:
    class_splits: dict[int, str] = {}
    for match, data in archives.members(path, _CLASS_LIST):
        _read_class_list(data, f"{path.name}: {match[0]}", match["split"], class_splits)
    return class_splits


def _read_class_list(data: bytes, name: str, split: str, class_splits: dict[int, str]) -> None:
    for number, line in enumerate(caption_files.lines(data, name), start=1):
        if not line.strip():
            continue
        match = _CLASS.fullmatch(line.strip())
        if match is None:
            raise UserError(f"{name}: line {number}: expected a class such as class_00041, got {line.strip()!r}")
        class_id = int(match[1])
        if class_id in class_splits:
            raise UserError(
                f"{name}: line {number}: class {class_id} is in {class_splits[class_id]}classes.txt too: keep it in one"
            )
        class_splits[class_id] = split


def _split_of_class(class_id: int, class_splits: dict[int, str]) -> str:
    if class_id not in class_splits:
        raise UserError(
            f"{CAPTIONS}: class {class_id} is in none of {', '.join(f'{split}classes.txt' for split in SPLITS)}: "
            "add it to one, or set data.split to oxford"
        )
    return class_splits[class_id]


def _oxford_splits(path: Path, image_ids: Collection[int]) -> dict[int, str]:
    splits: dict[int, str] = {}
    for name, split in _OXFORD_SETS.items():
        for image_id in _vector(path, name):
            if image_id in splits:
                raise UserError(f"{path.name}: image {image_id} is listed twice, the second time in {name}: keep one")
            splits[image_id] = split
    odd = sorted(set(image_ids) ^ splits.keys())
    if odd:
        raise UserError(f"{path.name} and {LABELS} do not list the same images, first {odd[0]}: use both of one source")
    return splits
