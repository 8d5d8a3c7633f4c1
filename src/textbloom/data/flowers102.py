"""Reading Oxford-102 Flowers with Reed's captions, in either of the two forms in which they are published.

Photos, labels, splits: Nilsback and Zisserman, "Automated flower classification over a large number of classes", 2008.
Captions, class-disjoint lists: Reed et al., "Learning deep representations of fine-grained visual descriptions", 2016.

The first form is Oxford's own files with Reed's archive of captions; drawn flowers are written in it too. The second is
one zip of photos and captions, which knows no classes: Oxford's labels and sets lie beside it only where they could be
had.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from scipy.io import loadmat

from textbloom.core.errors import UserError
from textbloom.data import archives, captions, splits
from textbloom.data.base import Entry, Photo, check_same_images

PHOTOS = "102flowers.tgz"
LABELS = "imagelabels.mat"
SETS = "setid.mat"
CAPTIONS = "cvpr2016_flowers.tar.gz"
BOTH = "cvpr2016_flowers.zip"

# Reed's 20, 20 and 62 of the 102 classes, for the zip that comes without his lists.
REED = (
    dict.fromkeys(range(1, 21), "test") | dict.fromkeys(range(21, 41), "val") | dict.fromkeys(range(41, 103), "train")
)
# 1,020, 1,020 and 6,149 photos: Oxford trains on few and tests on many.
OXFORD_SETS = {"trnid": "train", "valid": "val", "tstid": "test"}

_PHOTO = re.compile(r"(?:\./)?(?:jpg|(?:cvpr2016_flowers/)?images)/image_(\d{5})\.jpg")
_TEXT = re.compile(r"(?:\./)?(?:cvpr2016_flowers/)?(?:text_c10/class_\d{5}|captions)/image_(\d{5})\.txt")


def photos(folder: Path) -> Iterator[Photo]:
    """Every photo, in the archive's order."""
    for match, data in archives.members(folder / (BOTH if _is_zip(folder) else PHOTOS), _PHOTO):
        yield Photo(int(match[1]), match[0], data)


def entries(folder: Path) -> list[Entry]:
    """Every image, sorted by id, its class 0 where the zip came without labels.

    Raises UserError where labels and captions are not of the same images, and for captions that are not UTF-8.
    """
    name = BOTH if _is_zip(folder) else CAPTIONS
    texts = {int(id_): text for id_, text in captions.read_files(folder / name, _TEXT).items()}
    if _is_zip(folder) and not (folder / LABELS).exists():
        labels = dict.fromkeys(texts, 0)
    else:
        labels = dict(enumerate(_vector(folder / LABELS, "labels"), start=1))
        check_same_images(f"{name} and {LABELS}", texts, labels)
    return [Entry(id_, class_id, texts[id_]) for id_, class_id in sorted(labels.items())]


def _class_disjoint(folder: Path, entries: Sequence[Entry]) -> dict[int, str]:
    """Reed's lists of classes."""
    _need(folder, LABELS)
    class_splits = REED if _is_zip(folder) else splits.read_class_lists(folder / CAPTIONS)
    return splits.by_class(entries, class_splits, CAPTIONS)


def _oxford(folder: Path, entries: Sequence[Entry]) -> dict[int, str]:
    """The lists of images in setid.mat."""
    _need(folder, SETS)
    split_of = {id_: split for name, split in OXFORD_SETS.items() for id_ in _vector(folder / SETS, name)}
    check_same_images(f"{SETS} and the captions", split_of, [entry.image_id for entry in entries])
    return split_of


PUBLISHED_SPLITS = {"class-disjoint": _class_disjoint, "oxford": _oxford}


def _is_zip(folder: Path) -> bool:
    return (folder / BOTH).exists() and not (folder / PHOTOS).exists()


def _need(folder: Path, name: str) -> None:
    """Raise UserError where one of Oxford's tables did not come with the zip."""
    if _is_zip(folder) and not (folder / name).exists():
        raise UserError(
            f"data.split: it needs {name}, which did not come with {BOTH}: set data.split to random, or put the file "
            f"beside {BOTH} in a folder of your own, name that in data.mirror and `dvc repro --force download`"
        )


def _vector(path: Path, name: str) -> list[int]:
    """The whole numbers of a MATLAB file's variable, flattened. Raises UserError where there are none.

    Only compressed variables, as the published ones are, have a checksum: damage elsewhere may go unnoticed here.
    """
    try:
        return loadmat(path, appendmat=False, variable_names=[name])[name].ravel().tolist()
    except Exception as error:  # scipy's reader raises nearly anything on damaged bytes
        raise UserError(f"{path.name}: no readable {name!r} in it ({error!r}): {archives.MEND}") from None
