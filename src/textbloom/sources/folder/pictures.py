"""Which files of a person's folder are its pictures, by the endings of their names."""

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from unicodedata import normalize

from textbloom.core.errors import UserError
from textbloom.data.archives import MEMBER_BYTES

SUFFIXES = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".jfi", ".jif", ".pjpeg", ".pjp", ".mpo", ".png", ".apng", ".webp", ".avif",
    ".tif", ".tiff", ".bmp", ".gif",
)  # fmt: skip
# Pictures too, of telephones, cameras and drawing programs, but of kinds that are not read.
OTHERS = (
    ".heic", ".heif", ".hif", ".jxl", ".jp2", ".jpf", ".jpx", ".j2k", ".jxr", ".dng", ".cr2", ".cr3", ".nef", ".nrw",
    ".arw", ".srw", ".orf", ".rw2", ".rwl", ".raf", ".pef", ".x3f", ".3fr", ".iiq", ".psd", ".psb", ".xcf", ".svg",
    ".eps", ".tga", ".ppm", ".pgm", ".pbm", ".pnm", ".dib", ".ico", ".exr", ".hdr",
)  # fmt: skip


def find(source: Path, names: Iterable[str]) -> list[str]:
    """The pictures among the files of `source`, given by their paths in it, sorted.

    A picture of a kind that is not read may lie beside a copy that is: the photo IMG_1.HEIC beside img_1.jpg. Raises
    UserError, naming them, for others, for a folder without pictures, and for two pictures whose names read the same.
    """
    names = sorted(names, key=composed)
    for name in names:
        if "\r" in name:  # which a table would part into two lines
            raise UserError(f"{source}: {name!r} has a line end in its name: rename it")
    pictures = [name for name in names if is_picture(name)]
    read = {stem(name).lower() for name in pictures}
    unread = [name for name in names if _suffix(name) in OTHERS and stem(name).lower() not in read]
    if unread:
        more = f" and {len(unread) - 3} more" if len(unread) > 3 else ""
        raise UserError(
            f"{source}: {', '.join(unread[:3])}{more} cannot be read: convert to JPEG, or take away, what ends in "
            f"{' '.join(sorted(set(map(_suffix, unread))))}"
        )
    if not pictures:
        raise UserError(f"data.path: {source} holds no picture ({' '.join(SUFFIXES)}): give the folder that does")
    alike = defaultdict(list)
    for picture in pictures:
        alike[composed(picture)].append(picture)
    for twins in alike.values():
        if len(twins) > 1:
            raise UserError(f"{source}: {' and '.join(map(ascii, twins))} are read as one name: rename one of the two")
    return pictures


def is_picture(name: str) -> bool:
    """Whether a file is read as a picture."""
    return _suffix(name) in SUFFIXES


def contents(path: Path) -> bytes:
    """A file's bytes. Raises UserError for more than a picture or its captions have, before they are read."""
    if path.stat().st_size > MEMBER_BYTES:
        raise UserError(f"{path} has more than {MEMBER_BYTES >> 20} MiB: scale the picture down, or part the text")
    return path.read_bytes()


def composed(name: str) -> str:
    """A name in the one form that all its spellings share: é may be one character, or e and an accent."""
    return normalize("NFC", name)


def stem(name: str) -> str:
    """What a picture and its text have in common: the path without the ending, composed."""
    return composed(str(PurePosixPath(name).with_suffix("")))


def _suffix(name: str) -> str:
    return PurePosixPath(name).suffix.lower()
