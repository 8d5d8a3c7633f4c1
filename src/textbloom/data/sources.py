"""Where a data set can be had: a source is a set of published files, of which a data set may have several."""

from dataclasses import dataclass

from textbloom.data.base import RemoteFile


@dataclass(frozen=True)
class Source:
    """Files that make a data set together, what is hardest to get first; `extras` may be absent."""

    files: tuple[RemoteFile, ...]
    extras: tuple[RemoteFile, ...] = ()
