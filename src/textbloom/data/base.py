"""What every data set gives, whatever the layout of its archives."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Entry:
    """One image as its archive describes it: its id, its class, and at least one caption, in the published order."""

    image_id: int
    class_id: int
    captions: tuple[str, ...]


@dataclass(frozen=True)
class Record(Entry):
    """An entry that a split has been given, one of SPLITS."""

    split: str


class Box(NamedTuple):
    """Where in a picture its subject is, in pixels of the picture as it is stored."""

    left: float
    top: float
    width: float
    height: float


@dataclass(frozen=True)
class Photo:
    """One encoded picture as it lies in the archive, with its subject's place where the data set tells it."""

    image_id: int
    member: str
    data: bytes
    box: Box | None = None


@dataclass(frozen=True)
class RemoteFile:
    """A published file: its name, its addresses in the order to try, its published md5 (None: none was published)."""

    name: str
    addresses: tuple[str, ...]
    md5: str | None


class Dataset(Protocol):
    """How to read one layout of archives: a module with these functions. Each raises UserError on bad archives."""

    def entries(self, folder: Path) -> list[Entry]:
        """Every image of the data set, sorted by id."""
        ...

    def published_split(self, folder: Path, how: str, entries: Sequence[Entry]) -> dict[int, str]:
        """The split of each image id, as the data set's publishers divided it.

        `how` is `class-disjoint` or a split of the data set's own; UserError where it has none of that name.
        """
        ...

    def photos(self, folder: Path) -> Iterator[Photo]:
        """Every picture, in the order of the archive, one at a time."""
        ...

    def verify(self, folder: Path) -> None:
        """Read every file to its end, so that what is damaged shows before any stage relies on it."""
        ...
