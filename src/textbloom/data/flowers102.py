"""Reading Oxford-102 Flowers with Reed's captions, in either of the two forms in which they are published.

Photos, labels, splits: Nilsback and Zisserman, "Automated flower classification over a large number of classes", 2008.
Captions, class-disjoint lists: Reed et al., "Learning deep representations of fine-grained visual descriptions", 2016.

The first form is Oxford's own files with Reed's archive of captions; drawn flowers are written in it too. The second is
one zip of photos and captions, which knows no classes: Oxford's labels and sets lie beside it only where they could be
had.
"""

import re
import warnings
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from scipy.io import loadmat

from textbloom.core.errors import UserError
from textbloom.data import archives, captions, splits
from textbloom.data.base import SPLITS, Entry, Photo
from textbloom.data.splits import ClassList

PHOTOS = "102flowers.tgz"
LABELS = "imagelabels.mat"
SETS = "setid.mat"
CAPTIONS = "cvpr2016_flowers.tar.gz"
BOTH = "cvpr2016_flowers.zip"

UNKNOWN_CLASS = 0  # of every image where the labels are not there; Oxford counts from 1

# Reed's 20, 20 and 62 of the 102 classes, for the zip that comes without his lists.
REED = (
    dict.fromkeys(range(1, 21), "test") | dict.fromkeys(range(21, 41), "val") | dict.fromkeys(range(41, 103), "train")
)
# 1,020, 1,020 and 6,149 photos: Oxford trains on few and tests on many.
OXFORD_SETS = {"trnid": "train", "valid": "val", "tstid": "test"}

_PHOTO = re.compile(r"(?:\./)?jpg/image_(\d{5})\.jpg")
_TEXT = re.compile(r"(?:\./)?cvpr2016_flowers/text_c10/class_(?P<class>\d{5})/image_(?P<image>\d{5})\.txt")
_CLASS_LIST = re.compile(rf"(?:\./)?cvpr2016_flowers/(?P<split>{'|'.join(SPLITS)})classes\.txt")
_CLASS = re.compile(r"class_(\d{5})")
_PHOTO_OF_BOTH = re.compile(r"(?:\./)?(?:cvpr2016_flowers/)?images/image_(\d{5})\.jpg")
_TEXT_OF_BOTH = re.compile(r"(?:\./)?(?:cvpr2016_flowers/)?captions/image_(?P<image>\d{5})\.txt")


def photos(folder: Path) -> Iterator[Photo]:
    """Every photo, in the archive's order."""
    name, wanted = (BOTH, _PHOTO_OF_BOTH) if _is_zip(folder) else (PHOTOS, _PHOTO)
    for match, data in archives.members(folder / name, wanted):
        yield Photo(int(match[1]), match[0], data)


def entries(folder: Path) -> list[Entry]:
    """Every image, sorted by id, its class UNKNOWN_CLASS where the zip came without labels.

    Raises UserError for an image without a caption, a caption without a label, a caption filed under another class
    than the image's label, and bytes that are not UTF-8.
    """
    name, wanted = (BOTH, _TEXT_OF_BOTH) if _is_zip(folder) else (CAPTIONS, _TEXT)
    labels = None if _lacks(folder, LABELS) else dict(enumerate(_vector(folder / LABELS, "labels"), start=1))
    texts = _read_captions(folder / name, wanted, labels)
    if labels is None:
        labels = dict.fromkeys(texts, UNKNOWN_CLASS)
    missing = sorted(labels.keys() - texts.keys())
    if missing:
        raise UserError(
            f"{name}: image {missing[0]} has no caption file, nor have {len(missing) - 1} more of {LABELS}: "
            "use both files of one source"
        )
    return [Entry(id_, class_id, texts[id_]) for id_, class_id in sorted(labels.items())]


def published_split(folder: Path, how: str, entries: Sequence[Entry]) -> dict[int, str]:
    """The split of each image: `class-disjoint` (Reed's lists) or `oxford` (setid.mat).

    Raises UserError for another name, for an image or a class in no split or in two, and where the zip came without the
    file that the split needs.
    """
    needed = {"oxford": SETS, "class-disjoint": LABELS}
    if how not in needed:
        raise UserError(
            f"data.split: flowers have no split {how!r} of their publishers; there are class-disjoint, oxford"
        )
    if _lacks(folder, needed[how]):
        raise UserError(
            f"data.split: {how} needs {needed[how]}, which did not come with {BOTH}: set data.split to random, or put "
            f"the file beside {BOTH} in a folder of your own, name that in data.mirror and `dvc repro --force download`"
        )
    if how == "oxford":
        return _oxford_split(folder / SETS, [entry.image_id for entry in entries])
    class_splits = REED if _is_zip(folder) else read_class_lists(folder / CAPTIONS)
    names = [f"{split}classes.txt" for split in SPLITS]
    return splits.by_class(entries, class_splits, CAPTIONS, names, "oxford")


def verify(folder: Path) -> None:
    """Read every file to its end, and hold each against the others: labels, captions, sets and photos."""
    found = Counter(photo.image_id for photo in photos(folder))
    known = [entry.image_id for entry in entries(folder)]
    where = BOTH if _is_zip(folder) else PHOTOS
    if not found or not known:
        raise UserError(f"{where}: no photo in it, or no caption beside it: it is another archive; {archives.MEND}")
    odd = sorted(found.keys() ^ set(known))
    if odd or found.total() != len(found):
        first = odd[0] if odd else found.most_common(1)[0][0]
        raise UserError(
            f"{where}: image {first} has not exactly one photo and one caption file: use the files of one source; "
            f"{archives.MEND}"
        )
    if not _lacks(folder, SETS):
        _oxford_split(folder / SETS, known)


def read_class_lists(path: Path) -> dict[int, str]:
    """The split of each class after the lists in Reed's archive. Raises UserError for a class in two lists."""
    lists = (
        ClassList(match["split"], f"{path.name}: {match[0]}", data)
        for match, data in archives.members(path, _CLASS_LIST)
    )
    return splits.read_class_lists(lists, _CLASS, "class_00041")


def _is_zip(folder: Path) -> bool:
    return (folder / BOTH).exists() and not (folder / PHOTOS).exists()


def _lacks(folder: Path, name: str) -> bool:
    """Whether one of Oxford's tables, which belong to the first form but not to the zip, is not there."""
    return _is_zip(folder) and not (folder / name).exists()


def _read_captions(path: Path, wanted: re.Pattern[str], labels: dict[int, int] | None) -> dict[int, tuple[str, ...]]:
    texts: dict[int, tuple[str, ...]] = {}
    for match, data in archives.members(path, wanted):
        name = f"{path.name}: {match[0]}"
        image_id, filed_under = int(match["image"]), match.groupdict().get("class")
        if labels is not None:
            if image_id not in labels:
                raise UserError(f"{name}: {LABELS} has no image {image_id}: remove the file or use both of one source")
            if filed_under is not None and int(filed_under) != labels[image_id]:
                raise UserError(
                    f"{name}: filed under class {int(filed_under)}, but {LABELS} says {labels[image_id]}: correct one"
                )
        if image_id in texts:
            raise UserError(f"{name}: image {image_id} has a caption file already: remove one of the two")
        texts[image_id] = captions.parse(data, name)
    return texts


def _oxford_split(path: Path, image_ids: Collection[int]) -> dict[int, str]:
    """The split of each image after setid.mat. Raises UserError unless it divides exactly these images."""
    split_of: dict[int, str] = {}
    for name, split in OXFORD_SETS.items():
        for image_id in _vector(path, name):
            if image_id in split_of:
                raise UserError(f"{path.name}: image {image_id} is listed twice, the second time in {name}: keep one")
            split_of[image_id] = split
    odd = sorted(set(image_ids) ^ split_of.keys())
    if odd:
        raise UserError(
            f"{path.name} does not list the same images as the rest, first {odd[0]}: use the files of one source"
        )
    return split_of


def _vector(path: Path, name: str) -> list[int]:
    """The whole numbers of a MATLAB file's variable, flattened. Raises UserError where there are none.

    Only compressed variables, as the published ones are, have a checksum: damage elsewhere may go unnoticed here.
    """
    try:
        with open(path, "rb") as file, warnings.catch_warnings():
            warnings.simplefilter("error")  # scipy warns of data after a variable's end
            values = loadmat(file, variable_names=[name])[name].ravel()
        numbers = [int(value) for value in values]
        if any(number != value for number, value in zip(numbers, values, strict=True)):
            raise ValueError("not whole numbers")
        return numbers
    except FileNotFoundError:
        raise UserError(f"{path.name} is missing: {archives.MEND}") from None
    except Exception as error:  # scipy's reader raises nearly anything on damaged bytes
        raise UserError(f"{path.name}: no readable {name!r} in it ({error!r}): {archives.MEND}") from None
