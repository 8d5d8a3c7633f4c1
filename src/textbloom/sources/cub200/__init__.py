"""CUB-200-2011 birds with Reed's captions: the published files."""

from pathlib import Path

from textbloom.data.base import Options
from textbloom.data.cub200 import CAPTIONS, PHOTOS
from textbloom.data.download import DRIVE, FileSet, RemoteFile, fetch

FILES = FileSet(
    (
        # Drive gives a file this old only with its resource key.
        RemoteFile(
            CAPTIONS, (f"{DRIVE}uc?id=0B0ywwgffWnLLZW9uVHNjb2JmNlE&resourcekey=0-8y2UVmBHAlG26HafWYNoFQ",), None
        ),
        RemoteFile(
            PHOTOS,
            (
                "https://data.caltech.edu/records/65de6-vp158/files/CUB_200_2011.tgz",
                f"{DRIVE}uc?id=1hbzc_P1FuxMkcabkgn9ZKinBwW683j45",
            ),
            "97eceeb196236b17998738112f37df78",
        ),
    )
)


def obtain(folder: Path, options: Options) -> dict[str, str]:
    """Fetch the archives into `folder`; returns the address of each file."""
    return fetch([FILES], folder, options)
