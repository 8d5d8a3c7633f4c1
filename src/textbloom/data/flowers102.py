"""Oxford-102 Flowers with Reed's captions, from either published source; drawn flowers are written in the first layout.

Photos, labels, splits: Nilsback and Zisserman, "Automated flower classification over a large number of classes", 2008.
Captions, class-disjoint lists: Reed et al., "Learning deep representations of fine-grained visual descriptions", 2016.

The first source is Oxford's own files with Reed's archive of captions. The second is one zip of photos and captions,
which knows no classes: Oxford's labels and sets belong to it only where they could be had.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from textbloom.core.errors import UserError
from textbloom.data import archives, caption_files, class_lists, flower_splits, matlab
from textbloom.data.base import Entry, Photo, RemoteFile
from textbloom.data.sources import Source

PHOTOS = "102flowers.tgz"
LABELS = "imagelabels.mat"
SETS = "setid.mat"
CAPTIONS = "cvpr2016_flowers.tar.gz"
BOTH = "cvpr2016_flowers.zip"

UNKNOWN_CLASS = 0  # of every image where the labels are not there; Oxford counts from 1

_OXFORD = ("https://www.robots.ox.ac.uk/~vgg/data/flowers/102/", "https://thor.robots.ox.ac.uk/flowers/102/")


def _from_oxford(name: str, md5: str) -> RemoteFile:
    return RemoteFile(name, tuple(base + name for base in _OXFORD), md5)


def _from_drive(name: str, file: str) -> RemoteFile:
    return RemoteFile(name, (f"https://drive.google.com/uc?id={file}",), None)


_MATS = (
    _from_oxford(LABELS, "e0620be6f572b9609742df49c70aed4d"),
    _from_oxford(SETS, "a5357ecc9cb78c4bef273ce3793fc85c"),
)
SOURCES = (
    Source(
        (
            _from_drive(
                CAPTIONS, "0B0ywwgffWnLLcms2WWJQRFNSWXM&resourcekey=0-Av8zFbeDDvNcF1sSjDR32w"
            ),  # an old file needs its key
            *_MATS,
            _from_oxford(PHOTOS, "52808999861908f626f3c1f4e79d11fa"),
        )
    ),
    Source((_from_drive(BOTH, "1JJjMiNieTz7xYs6UeVqd02M3DW4fnEfU"),), extras=_MATS),
)

_PHOTO = re.compile(r"(?:\./)?jpg/image_(\d{5})\.jpg")
_TEXT = re.compile(r"(?:\./)?cvpr2016_flowers/text_c10/class_(?P<class>\d{5})/image_(?P<image>\d{5})\.txt")
_PHOTO_OF_BOTH = re.compile(r"(?:\./)?(?:cvpr2016_flowers/)?images/image_(\d{5})\.jpg")
_TEXT_OF_BOTH = re.compile(r"(?:\./)?(?:cvpr2016_flowers/)?captions/image_(?P<image>\d{5})\.txt")


def photos(folder: Path) -> Iterator[Photo]:
    """Every photo, in the archive's order."""
    name, wanted = (BOTH, _PHOTO_OF_BOTH) if _is_second(folder) else (PHOTOS, _PHOTO)
    for match, data in archives.members(folder / name, wanted):
        yield Photo(int(match[1]), match[0], data)


def entries(folder: Path) -> list[Entry]:
    """Every image, sorted by id, its class UNKNOWN_CLASS where the second source came without labels.

    Raises UserError for an image without a caption, a caption without a label, a caption filed under another class
    than the image's label, and bytes that are not UTF-8.
    """
    name, wanted = (BOTH, _TEXT_OF_BOTH) if _is_second(folder) else (CAPTIONS, _TEXT)
    labels = None if _lacks(folder, LABELS) else _read_labels(folder / LABELS)
    captions = _read_captions(folder / name, wanted, labels)
    if labels is None:
        labels = dict.fromkeys(captions, UNKNOWN_CLASS)
    missing = sorted(labels.keys() - captions.keys())
    if missing:
        raise UserError(
            f"{name}: image {missing[0]} has no caption file, nor have {len(missing) - 1} more of {LABELS}: "
            "use both files of one source"
        )
    return [Entry(id_, class_id, captions[id_]) for id_, class_id in sorted(labels.items())]


def published_split(folder: Path, how: str, entries: Sequence[Entry]) -> dict[int, str]:
    """The split of each image: `class-disjoint` (Reed's lists) or `oxford` (setid.mat).

    Raises UserError for another name, for an image or a class in no split or in two, and where the second source came
    without the file that the split needs.
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
        return flower_splits.by_setid(folder / SETS, [entry.image_id for entry in entries])
    class_splits = flower_splits.REED if _is_second(folder) else flower_splits.by_class_lists(folder / CAPTIONS)
    return class_lists.assign(entries, class_splits, CAPTIONS, flower_splits.CLASS_LISTS, "oxford")


def verify(folder: Path) -> None:
    """Read every file to its end, and hold each against the others: labels, captions, sets and photos."""
    found = Counter(photo.image_id for photo in photos(folder))
    known = [entry.image_id for entry in entries(folder)]
    where = BOTH if _is_second(folder) else PHOTOS
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
        flower_splits.by_setid(folder / SETS, known)


def _is_second(folder: Path) -> bool:
    return (folder / BOTH).exists() and not (folder / PHOTOS).exists()


def _lacks(folder: Path, extra: str) -> bool:
    return _is_second(folder) and not (folder / extra).exists()


def _read_labels(path: Path) -> dict[int, int]:
    return dict(enumerate(matlab.vector(path, "labels"), start=1))


def _read_captions(path: Path, wanted: re.Pattern[str], labels: dict[int, int] | None) -> dict[int, tuple[str, ...]]:
    captions: dict[int, tuple[str, ...]] = {}
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
        if image_id in captions:
            raise UserError(f"{name}: image {image_id} has a caption file already: remove one of the two")
        captions[image_id] = caption_files.parse(data, name)
    return captions
