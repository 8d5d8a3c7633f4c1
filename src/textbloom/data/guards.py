"""What no honest archive of photos and captions holds, whatever its kind: each is refused by name."""

import re
from pathlib import Path, PurePosixPath

from textbloom.core.errors import UserError

MEMBER_BYTES = 64 * 2**20  # a photo has less than 1 MiB, a caption file less than 10 KiB
TOTAL_BYTES = 16 * 2**30
# deflate reaches 1000:1 on zeros; short text files, padded by tar to blocks of 512 bytes, stay below 30:1.
RATIO = 100
RATIO_FREE_BYTES = 16 * 2**20  # a small archive may be as repetitive as it likes

MEND = "fetch it again with `dvc repro --force download`, from another data.mirror if it stays so"


def refuse_name(path: Path, member: str) -> None:
    """Raise UserError for a member's name that is absolute or climbs, on any operating system."""
    name = PurePosixPath(member.replace("\\", "/"))
    if name.is_absolute() or ".." in name.parts or re.match(r"[A-Za-z]:", member):
        refuse(path, member, "a path that leads out of the archive")


def refuse(path: Path, member: str, what: str) -> None:
    """Raise UserError: the member is `what`."""
    raise UserError(f"{path.name}: member {member!r} is {what}, which no honest archive holds: {MEND}")


def refuse_long(path: Path, member: str, size: int) -> None:
    """Raise UserError for a member of more than MEMBER_BYTES."""
    if size > MEMBER_BYTES:
        raise UserError(
            f"{path.name}: member {member!r} is {size >> 20} MiB long, as no photo or caption file is: {MEND}"
        )


class Allowance:
    """How many bytes may come out of an archive in all, whatever its headers say."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._limit = min(TOTAL_BYTES, max(RATIO_FREE_BYTES, RATIO * path.stat().st_size))
        self._count = 0

    def take(self, size: int) -> None:
        """Count bytes that came out; raises UserError, as for a bomb, when they are too many."""
        self._count += size
        if self._count > self._limit:
            raise UserError(
                f"{self._path.name} unpacks to more than {self._limit >> 20} MiB, as a decompression bomb does: {MEND}"
            )
