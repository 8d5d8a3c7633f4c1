"""Reading tar.gz and zip archives: nothing is unpacked to disk, what no honest archive holds is refused."""

import re
from collections.abc import Iterator
from pathlib import Path

from textbloom.core.errors import UserError
from textbloom.data import tars, zips
from textbloom.data.guards import MEND, refuse

__all__ = ["MEND", "members"]


def members(path: Path, wanted: re.Pattern[str]) -> Iterator[tuple[re.Match[str], bytes]]:
    """Yield the match and the content of every regular file whose whole name `wanted` matches, in the archive's order.

    One member at a time is in memory, and each comes only after its checksum: a zip's own, or those of the blocks of a
    tar so far (its gzip checksum stands at the end, up to which every tar is read). Raises UserError, naming archive
    and member, for a damaged or truncated archive, an absolute or climbing name, a link, a device, an encrypted member,
    two members of one name, or a bomb.
    """
    read = zips.read if path.suffix == ".zip" else tars.read
    seen: set[str] = set()
    try:
        for match, content in read(path, wanted):
            if match[0] in seen:
                refuse(path, match[0], "there twice")
            seen.add(match[0])
            yield match, content
    except FileNotFoundError:
        raise UserError(f"{path.name} is missing: {MEND}") from None
