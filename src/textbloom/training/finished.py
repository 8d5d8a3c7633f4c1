"""The states of finished runs, for a run of more epochs to go on from (`train.warm_start`)."""

import os
from pathlib import Path

from textbloom.core import paths

KEPT = 2  # states; each takes four times its generator and three times its discriminator on disk


def folder() -> Path:
    """Where they lie."""
    return paths.main_workspace(paths.FINISHED)


def keep(state: Path, lineage: str, epochs: int) -> None:
    """Move the state of a run that has finished; of all, the KEPT newest stay.

    lineage: the fingerprint of all that decides the run but its number of epochs.
    """
    folder().mkdir(parents=True, exist_ok=True)
    os.replace(state, folder() / f"{lineage}-{epochs}.safetensors")
    for path in sorted(folder().glob("*.safetensors"), key=_saved_at)[:-KEPT]:
        path.unlink(missing_ok=True)


def longest(lineage: str, epochs: int) -> tuple[Path, int] | None:
    """The state of the longest kept run of that lineage with fewer than `epochs`, and its epochs."""
    runs = [(int(path.stem.rpartition("-")[2]), path) for path in folder().glob(f"{lineage}-*.safetensors")]
    shorter = [(done, path) for done, path in runs if done < epochs]
    if not shorter:
        return None
    done, path = max(shorter)
    return path, done


def _saved_at(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:  # another run has just removed it
        return 0
