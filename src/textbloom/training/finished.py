"""The states of finished runs, for a run of more epochs to go on from (`train.warm_start`)."""

import os
from pathlib import Path

from textbloom import paths

KEPT = 2  # states; each is about five times its generator and discriminator on disk


def folder() -> Path:
    """Where they lie, in the main workspace of DVC: DVC removes a stage's outputs before it runs."""
    return Path(os.environ.get("DVC_ROOT", ".")) / paths.FINISHED


def keep(state: Path, lineage: str, epochs: int) -> None:
    """Move the state of a run that has finished; of all, the KEPT newest stay.

    lineage: the fingerprint of all that decides the run but its number of epochs.
    """
    folder().mkdir(parents=True, exist_ok=True)
    os.replace(state, folder() / f"{lineage}-{epochs}.safetensors")
    by_age = sorted(folder().glob("*.safetensors"), key=lambda path: path.stat().st_mtime_ns)
    for path in by_age[:-KEPT]:
        path.unlink(missing_ok=True)


def longest(lineage: str, epochs: int) -> tuple[Path, int] | None:
    """The state of the longest kept run of that lineage with fewer than `epochs`, and its epochs."""
    runs = [(int(path.stem.rpartition("-")[2]), path) for path in folder().glob(f"{lineage}-*.safetensors")]
    shorter = [(done, path) for done, path in runs if done < epochs]
    if not shorter:
        return None
    done, path = max(shorter)
    return path, done
