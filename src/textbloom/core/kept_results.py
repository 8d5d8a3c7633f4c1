"""Results that outlive a run: computed once for all that decides them, and shared by every experiment of a project."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from textbloom.core import paths, resume
from textbloom.core.tensors import load_tensors, save_tensors


def tensors(compute: Callable[[], Mapping[str, Tensor]], settings: Any, files: Sequence[Path]) -> dict[str, Tensor]:
    """What `compute` gives, or gave an earlier run of the same settings (JSON-like) and bytes of files.

    `settings` and `files` are all that decides the result.
    """
    path = resume.resume_folder(paths.main_workspace(paths.KEPT_FEATURES), settings, files, []).with_suffix(
        ".safetensors"
    )
    if not path.exists():
        own = path.with_stem(f"{path.stem}-{os.getpid()}")  # another experiment may be at the same
        save_tensors(own, compute())
        os.replace(own, path)
    return load_tensors(path)
