"""The folder of an unfinished run, so that a killed one continues: its name, its lock, and its end."""

import hashlib
import json
import os
import shutil
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from textbloom.core import locks
from textbloom.core.files import sha256

_PACKAGE = Path(__file__).parents[1]  # src/textbloom, whose folders are the rooms


def resume_folder(root: Path, settings: Any, files: Sequence[Path], rooms: Sequence[str]) -> Path:
    """The folder below `root` of the run that these arguments decide: equal ones give the same folder.

    Args:
        root: where unfinished runs lie.
        settings: all that decides the result beside files and code; anything that JSON can hold.
        files: the data that the run reads; their bytes count, not their names.
        rooms: the folders of src/textbloom whose source decides the result, such as "training" or "models"; an edit
            elsewhere, of a plot for example, does not lose the run.
    """
    name = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for path in files:
        name.update(sha256(path).encode())
    for source in sorted(source for room in rooms for source in (_PACKAGE / room).rglob("*.py")):
        name.update(f"{source.relative_to(_PACKAGE)} {sha256(source)}".encode())
    return root / name.hexdigest()[:16]


@contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Reserve a run's folder for this process; a second process says on stderr which is the first, and waits for it.

    So two experiments may have one stage in common. The kernel keeps the lock, so it ends with the process, however
    that ends. `remove` the folder only under it.
    """
    with locks.exclusive(folder / "lock", "already trains this very run", wait=True):
        yield


def holder(folder: Path) -> tuple[str, bool]:
    """Which process on which machine locked a run's folder last, since when, and whether it is still there.

    To lock the folder for a look would refuse a process that wants it just then. So the process is looked for by its
    id; on another machine, where it cannot be seen, it counts as there. A missing folder is a FileNotFoundError.
    """
    text = (folder / "lock").read_text(encoding="utf-8")
    process, _, rest = text.partition(" on ")
    if rest.partition(" since ")[0] != socket.gethostname():  # or between the file's opening and its writing
        return text, True
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return text, False
    except PermissionError:  # another person's
        pass
    return text, True


def remove(folder: Path) -> None:
    """Remove the folder of a finished run, which the caller has locked."""
    shutil.rmtree(folder, ignore_errors=True)
