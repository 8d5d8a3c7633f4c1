"""What every data set gives, whatever its archives look like, and what it may ask for where it is obtained."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

from textbloom.core.errors import UserError


@dataclass(frozen=True)
class Entry:
    """One image as its archive describes it: its id, its class, and at least one caption, in the published order."""

    image_id: int
    class_id: int  # 0: none
    captions: tuple[str, ...]


@dataclass(frozen=True)
class Record(Entry):
    """An entry that has been given a split, one of SPLITS."""

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


class UnfitError(ValueError):
    """A sound picture that cannot be taken: what it has, and the mend, to stand behind its name."""


class Dataset(Protocol):
    """How the archives of one data set are read: a module of these, whose functions raise UserError on bad archives."""

    @property
    def PUBLISHED_SPLITS(self) -> Mapping[str, Callable[[Path, Sequence[Entry]], dict[int, str]]]:
        """The publishers' own divisions: each gives, from the folder and its entries, the split of every image id."""
        ...

    def entries(self, folder: Path) -> list[Entry]:
        """Every image of the data set, sorted by id."""
        ...

    def photos(self, folder: Path) -> Iterator[Photo]:
        """Every picture, in the order of the archive, one at a time."""
        ...


@dataclass(frozen=True)
class Options:
    """What a person may choose about how a data set is obtained; each source looks at what concerns it."""

    keep: Path  # a folder in which the whole files of an unfinished download stay for the next run
    mirror: str | None = None  # base URL or local folder that holds the files under their names; None: as published
    checksums: str = "published"  # or recorded: also accept files whose md5 is not the published one
    timeout: tuple[float, float] = (10.0, 30.0)  # seconds to wait for a connection, and for the next bytes
    retries: int = 1  # how often an address that failed is asked again
    path: Path = Path()  # the folder of a person's own pictures
    count: int = 0  # how many flowers are drawn
    seed: int = 0  # of the drawing


class Source(Protocol):
    """How one data set is obtained: a package of `textbloom.sources` with this function."""

    def obtain(self, folder: Path, options: Options) -> Mapping[str, str]:
        """Put the archives into `folder`, which exists; returns where each file, by its name, came from."""
        ...


def check_same_images(files: str, ones: Iterable[object], others: Iterable[object]) -> None:
    """Raise UserError, naming the files and an image, unless what two files tell is of the same images."""
    odd = sorted(map(str, set(ones) ^ set(others)))
    if odd:
        raise UserError(
            f"{files}: image {odd[0]} is only in one of them, as are {len(odd) - 1} more: use the files of one source"
        )
