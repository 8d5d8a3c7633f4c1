"""Oxford-102 Flowers with Reed's captions: the published files, in two sets, of which the first is preferred.

The first set is Oxford's own files with Reed's archive of captions. The second is one zip of photos and captions, with
Oxford's labels and sets where they can be had.
"""

from pathlib import Path

from textbloom.data.base import Options
from textbloom.data.download import DRIVE, FileSet, RemoteFile, fetch
from textbloom.data.flowers102 import BOTH, CAPTIONS, LABELS, PHOTOS, SETS

_OXFORD = ("https://www.robots.ox.ac.uk/~vgg/data/flowers/102/", "https://thor.robots.ox.ac.uk/flowers/102/")


def _from_oxford(name: str, md5: str) -> RemoteFile:
    return RemoteFile(name, tuple(base + name for base in _OXFORD), md5)


_TABLES = (
    _from_oxford(LABELS, "e0620be6f572b9609742df49c70aed4d"),
    _from_oxford(SETS, "a5357ecc9cb78c4bef273ce3793fc85c"),
)
# Drive gives a file as old as Reed's only with its resource key.
_REED = f"{DRIVE}uc?id=0B0ywwgffWnLLcms2WWJQRFNSWXM&resourcekey=0-Av8zFbeDDvNcF1sSjDR32w"

FILE_SETS = (
    FileSet((RemoteFile(CAPTIONS, (_REED,), None), *_TABLES, _from_oxford(PHOTOS, "52808999861908f626f3c1f4e79d11fa"))),
    FileSet((RemoteFile(BOTH, (f"{DRIVE}uc?id=1JJjMiNieTz7xYs6UeVqd02M3DW4fnEfU",), None),), extras=_TABLES),
)


def obtain(folder: Path, options: Options) -> dict[str, str]:
    """Fetch the archives into `folder`; returns the address of each file."""
    return fetch(FILE_SETS, folder, options)
