"""CUB-200-2011 birds with Reed's captions, as published.

Photos, labels, boxes: Wah et al., "The Caltech-UCSD Birds-200-2011 Dataset", 2011.
Captions, class-disjoint lists: Reed et al., "Learning deep representations of fine-grained visual descriptions", 2016.
"""

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from PIL import Image

from textbloom.core.errors import UserError
from textbloom.data import archives, caption_files, class_lists, cub200_tables
from textbloom.data.base import Entry, Photo, RemoteFile
from textbloom.data.class_lists import ClassList
from textbloom.data.cub200_tables import IMAGES, Bird

PHOTOS = "CUB_200_2011.tgz"
CAPTIONS = "cvpr2016_cub.tar.gz"

_DRIVE = "https://drive.google.com/uc?id="

FILES = (
    # Drive gives a file this old only with its resource key.
    RemoteFile(CAPTIONS, (_DRIVE + "0B0ywwgffWnLLZW9uVHNjb2JmNlE&resourcekey=0-8y2UVmBHAlG26HafWYNoFQ",), None),
    RemoteFile(
        PHOTOS,
        (
            "https://data.caltech.edu/records/65de6-vp158/files/CUB_200_2011.tgz",
            _DRIVE + "1hbzc_P1FuxMkcabkgn9ZKinBwW683j45",
        ),
        "97eceeb196236b17998738112f37df78",
    ),
)

# Names that begin with a dot are a file system's own.
_PHOTO = re.compile(r"(?:\./)?CUB_200_2011/images/(?P<path>[^/]+/(?!\.)[^/]+)\.jpg")
_TEXT = re.compile(r"(?:\./)?(?:cvpr2016_cub/)?text_c10/(?P<path>[^/]+/(?!\.)[^/]+)\.txt")
_CLASS_LIST = re.compile(r"(?:\./)?(?:cvpr2016_cub/)?(?P<name>(?:train|val|trainval|test)classes\.txt)")

_LISTS = {"trainclasses.txt": "train", "valclasses.txt": "val", "testclasses.txt": "test"}
_LISTS_WITHOUT_VAL = {"trainvalclasses.txt": "train", "testclasses.txt": "test"}

# Some captions have two of U+FFFD where a space stood: another program's mark for bytes that it could not read.
_LOST = "\ufffd".encode()


def photos(folder: Path) -> Iterator[Photo]:
    """Every photo with its bounding box, in the archive's order. The tables are read first, wherever they lie."""
    birds = cub200_tables.read(folder / PHOTOS)
    for match, data in archives.members(folder / PHOTOS, _PHOTO):
        bird = birds.get(match["path"])
        if bird is None:
            raise UserError(f"{PHOTOS}: {match[0]}: {IMAGES} does not list it: add it there, or remove the photo")
        yield Photo(bird.image_id, match[0], data, bird.box)


def entries(folder: Path) -> list[Entry]:
    """Every image of images.txt, sorted by id.

    Raises UserError for an image without a caption, a caption without an image, a caption filed under another class
    than its image, bytes that are not UTF-8, and tables that do not fit together.
    """
    birds = cub200_tables.read(folder / PHOTOS)
    captions = _captions(folder / CAPTIONS, birds)
    missing = [path for path in birds if path not in captions]
    if missing:
        raise UserError(
            f"{CAPTIONS}: image {birds[missing[0]].image_id} ({missing[0]}.jpg) has no caption file, nor have "
            f"{len(missing) - 1} more of {PHOTOS}: use both archives of one source"
        )
    return [Entry(bird.image_id, bird.class_id, captions[path]) for path, bird in birds.items()]


def published_split(folder: Path, how: str, entries: Sequence[Entry]) -> dict[int, str]:
    """The split of each image: `class-disjoint`, Reed's 100 train, 50 val and 50 test classes.

    In an archive with only the list of train and val classes together, all 150 train. Raises UserError for another
    name, and for a class in no list or in two.
    """
    if how != "class-disjoint":
        raise UserError(
            f"data.split: birds have no split {how!r}; there are class-disjoint, random, random-classes, none"
        )
    found = {match["name"]: (match[0], data) for match, data in archives.members(folder / CAPTIONS, _CLASS_LIST)}
    used = _LISTS if _LISTS.keys() <= found.keys() else _LISTS_WITHOUT_VAL
    missing = [name for name in used if name not in found]
    if missing:
        raise UserError(f"{CAPTIONS}: there is no {missing[0]} in it: add it, or set data.split to random-classes")
    lists = [ClassList(split, f"{CAPTIONS}: {found[name][0]}", found[name][1]) for name, split in used.items()]
    class_splits = class_lists.read(lists, cub200_tables.CLASS, "001.Black_footed_Albatross")
    return class_lists.assign(entries, class_splits, CAPTIONS, list(used), "random-classes")


def verify(folder: Path) -> None:
    """Read both archives to their end, and hold every box against its photo."""
    count = 0
    for photo in photos(folder):
        _refuse_outside(photo)
        count += 1
    texts = sum(1 for _ in archives.members(folder / CAPTIONS, _TEXT))
    for name, found, wanted in ((PHOTOS, count, _PHOTO), (CAPTIONS, texts, _TEXT)):
        if found == 0:
            raise UserError(
                f"{name}: no member's name matches {wanted.pattern}: it is another archive; {archives.MEND}"
            )


def _captions(path: Path, birds: Mapping[str, Bird]) -> dict[str, tuple[str, ...]]:
    captions: dict[str, tuple[str, ...]] = {}
    for match, data in archives.members(path, _TEXT):
        name, image = f"{path.name}: {match[0]}", match["path"]
        if image not in birds:
            _refuse_stray(name, image, birds)
        if image in captions:
            raise UserError(f"{name}: image {birds[image].image_id} has a caption file already: remove one of the two")
        captions[image] = caption_files.parse(data.replace(_LOST, b" "), name)
    return captions


def _refuse_stray(name: str, image: str, birds: Mapping[str, Bird]) -> None:
    folder, file = image.split("/")
    elsewhere = [path.split("/")[0] for path in birds if path.endswith(f"/{file}")]
    if elsewhere:
        raise UserError(f"{name}: filed under {folder}, but {IMAGES} says {elsewhere[0]}: correct one")
    raise UserError(f"{name}: {IMAGES} has no image {image}.jpg: remove the file or use both archives of one source")


def _refuse_outside(photo: Photo) -> None:
    """A published box may pass an edge by a pixel or two; no honest one has its centre beyond it."""
    assert photo.box is not None
    try:
        with Image.open(io.BytesIO(photo.data)) as image:
            width, height = image.size
    except OSError as error:
        raise UserError(f"photo {photo.member} cannot be decoded ({error}): {archives.MEND}") from None
    across, down = photo.box.left + photo.box.width / 2, photo.box.top + photo.box.height / 2
    if not (0 <= across <= width and 0 <= down <= height):
        raise UserError(
            f"photo {photo.member}: the box of image {photo.image_id} in {cub200_tables.BOXES}, {tuple(photo.box)}, "
            f"lies outside its {width} × {height} pixels: use boxes and photos of one source"
        )
