"""What every data set gives, whatever the layout of its archives."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Record:
    """One image's entry: its id, its class, one of SPLITS, and at least one caption, in the published order."""

    image_id: int
    class_id: int
    split: str
    captions: tuple[str, ...]


@dataclass(frozen=True)
class Photo:
    """One encoded picture as it lies in the archive."""

    image_id: int
    member: str
    data: bytes


@dataclass(frozen=True)
class RemoteFile:
    """A published file: its name, its addresses in the order to try, its published md5 (None: none was published)."""

    name: str
    addresses: tuple[str, ...]
    md5: str | None


class Dataset(Protocol):
    """How to read one layout of archives: a module with these functions. Each raises UserError on bad archives."""

    def records(self, folder: Path, split: str) -> list[Record]:
        """Every image of the data set, sorted by id, divided the way that `split` (data.split) names."""
        ...

    def photos(self, folder: Path) -> Iterator[Photo]:
        """Every picture, in the order of the archive, one at a time."""
        ...

    def verify(self, folder: Path) -> None:
        """Read every file to its end, so that what is damaged shows before any stage relies on it."""
        ...
