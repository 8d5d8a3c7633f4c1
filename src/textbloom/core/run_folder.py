"""The folder of an unfinished run: named by all that decides the result, held by one process, gone when it is done."""

import errno
import fcntl
import hashlib
import json
import os
import shutil
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import IO, Any

from textbloom.core import paths
from textbloom.core.errors import UserError


def of(settings: Any, files: Sequence[Path]) -> Path:
    """Where a run of these settings (JSON-like), data and code keeps its state, in the main workspace of DVC."""
    return shared(paths.RESUME) / fingerprint(settings, files)


def shared(folder: Path) -> Path:
    """A folder of the main workspace of DVC: temporary workspaces of experiments go, and DVC clears stages' outputs."""
    return Path(os.environ.get("DVC_ROOT", ".")) / folder


def fingerprint(settings: Any, files: Sequence[Path]) -> str:
    """A name for a run by all that decides its result: settings, and the bytes of data and code."""
    total = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for path in files:
        with path.open("rb") as file:
            total.update(hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()[:16]


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold a run's folder for this process alone; a second process gets a UserError that names the holder.

    The lock is the kernel's, so it ends with the process, however that ends. It covers `forget` too.
    """
    with _locked(folder) as file:
        file.truncate(0)
        since = datetime.now().astimezone().isoformat(" ", "seconds")
        file.write(f"{os.getpid()} on {socket.gethostname()} since {since}")
        file.flush()
        yield


@contextmanager
def _locked(folder: Path) -> Iterator[IO[str]]:
    lock = folder / "lock"
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            opened = lock.open("a+")
        except FileNotFoundError:  # forgotten since the line above
            continue
        with opened as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                raise UserError(
                    f"{folder}: process {file.read() or '(unknown)'} already trains this very run; wait for it or end "
                    "it"
                ) from None
            except OSError as error:
                if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):
                    raise
                raise UserError(
                    f"{lock}: this file system has no locks ({error.strerror}): mount it with them, or move the project"
                ) from None
            # Whoever held it may have forgotten the folder between our opening of the file and our locking it.
            if _is(file, lock):
                yield file
                return


def _is(file: IO[str], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def forget(folder: Path) -> None:
    """Remove the state of a finished run, which the caller holds."""
    shutil.rmtree(folder, ignore_errors=True)
