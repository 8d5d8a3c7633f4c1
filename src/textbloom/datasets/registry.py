"""Which module reads the archives of which data set."""

from textbloom.datasets import cub200, flowers102, folder
from textbloom.datasets.base import Dataset
from textbloom.errors import UserError

# drawn flowers are written in the layout of Oxford-102
_DATASETS: dict[str, Dataset] = {"drawn": flowers102, "flowers102": flowers102, "cub200": cub200, "folder": folder}


def open_dataset(name: str) -> Dataset:
    """The reader of a data set by its name in `data.dataset`. Raises UserError for an unknown name."""
    if name not in _DATASETS:
        raise UserError(f"data.dataset: {name!r} is unknown; there are: {', '.join(sorted(_DATASETS))}")
    return _DATASETS[name]
