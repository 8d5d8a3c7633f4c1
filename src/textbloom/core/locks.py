"""Exclusive and shared locks on files (flock). The kernel ends a lock with its process, however that ends."""

import errno
import fcntl
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import IO

from textbloom.core.errors import UserError


@contextmanager
def exclusive(path: Path, does: str, wait: bool = False) -> Iterator[IO[str]]:
    """Lock `path` for this process alone; where another holds it, a UserError names that one and what it `does`.

    With `wait` this is only said on stderr, and this process waits. `downgrade` makes the lock a shared one.
    """
    with _held(path, fcntl.LOCK_EX | fcntl.LOCK_NB, does, wait) as file:
        yield file


@contextmanager
def shared(path: Path) -> Iterator[None]:
    """Lock `path` together with others that share it; waits for one that holds it exclusively."""
    with _held(path, fcntl.LOCK_SH, ""):
        yield


def downgrade(file: IO[str]) -> None:
    """Make this process's exclusive lock a shared one."""
    fcntl.flock(file, fcntl.LOCK_SH)


@contextmanager
def _held(path: Path, how: int, does: str, wait: bool = False) -> Iterator[IO[str]]:
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            opened = path.open("a+")
        except FileNotFoundError:  # the process before this one removed the folder since the line above
            continue
        with opened as file:
            try:
                fcntl.flock(file, how)
            except BlockingIOError:
                file.seek(0)
                holder = f"{path.parent}: process {file.read() or '(unknown)'} {does}"
                if not wait:
                    raise UserError(f"{holder}; wait for it or end it") from None
                print(f"{holder}; this one waits for it", file=sys.stderr)
                fcntl.flock(file, fcntl.LOCK_EX)
            except OSError as error:
                if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):
                    raise
                raise UserError(
                    f"{path}: this file system has no locks ({error.strerror}): mount it with them, or move the project"
                ) from None
            # The process that had the lock may have removed the folder after this one opened the file: then the lock
            # is on a file without a name, and another process could lock its successor.
            if _is(file, path):
                file.truncate(0)
                since = datetime.now().astimezone().isoformat(" ", "seconds")
                file.write(f"{os.getpid()} on {socket.gethostname()} since {since}")
                file.flush()
                yield file
                return


def _is(file: IO[str], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False
