"""Which module reads the archives of which data set."""

from textbloom.core.errors import UserError
from textbloom.data import cub200, flowers102, folder
from textbloom.data.base import Dataset

# drawn flowers are written in the layout of Oxford-102
_DATASETS: dict[str, Dataset] = {"drawn": flowers102, "flowers102": flowers102, "cub200": cub200, "folder": folder}


def open_dataset(name: str) -> Dataset:
    """The reader of a data set by its name in `data.dataset`. Raises UserError for an unknown name."""
    if name not in _DATASETS:
        raise UserError(f"data.dataset: {name!r} is unknown; there are: {', '.join(sorted(_DATASETS))}")
    return _DATASETS[name]
