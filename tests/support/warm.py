"""Stages started in a moment: a process that has loaded every module forks a child for each.

`python stages/train.py`, where `python` is the program in `Warm.bin`, behaves as ever: it is in the caller's process
group, with its folder, environment and streams, and ends with the stage's status. Any other program is Python's own.
This module loads none of the heavy ones, for that program is it.
"""

import json
import os
import select
import signal
import socket
import sys
from array import array
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

PROGRAM = """#!{python} -IS
import sys
sys.path.append({folder!r})
import warm
warm.program({socket!r}, {python!r})
"""


class Warm:
    """A server of `commands`: each a function by its name, with the modules of this process and one thread."""

    def __init__(self, folder: Path, commands: Mapping[str, Callable[[], None]]) -> None:
        self.bin, self.socket = folder / "bin", folder / "socket"
        self.bin.mkdir(parents=True)
        python = self.bin / "python"
        python.write_text(
            PROGRAM.format(python=sys.executable, folder=str(Path(__file__).parent), socket=str(self.socket))
        )
        python.chmod(0o755)
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(str(self.socket))
        listening.listen()
        parent = os.getpid()
        self.pid = os.fork()
        if self.pid == 0:
            _serve(listening, commands, parent)
        listening.close()

    def start(self, command: str, folder: Path, environment: Mapping[str, str], log: Path) -> "Stage":
        """Start a stage in a process group of its own."""
        with log.open("wb") as said, open(os.devnull, "rb") as nothing:
            return Stage(*ask(self.socket, command, folder, environment, 0, [nothing.fileno(), *[said.fileno()] * 2]))

    def close(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


class Stage:
    """A stage that runs."""

    def __init__(self, connection: socket.socket, pid: int) -> None:
        self.connection, self.pid = connection, pid
        self.status: int | None = None

    def poll(self) -> int | None:
        if self.status is None and select.select([self.connection.fileno()], [], [], 0)[0]:
            self.wait()
        return self.status

    def wait(self) -> int:
        if self.status is None:
            self.status = int(array("i", self.connection.recv(4))[0])
            self.connection.close()
        return self.status


def ask(
    at: Path | str, command: str, folder: Path | str, environment: Mapping[str, str], group: int, streams: list[int]
) -> tuple[socket.socket, int]:
    """Have a stage started; returns the connection on which its status comes, and its process."""
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(str(at))
    request = json.dumps([command, str(folder), dict(environment), group]).encode()
    socket.send_fds(connection, [array("i", [len(request)]).tobytes()], streams)
    connection.sendall(request)
    return connection, int(array("i", connection.recv(4))[0])


def program(at: str, python: str) -> None:
    """What `python` is."""
    script = Path(sys.argv[1]) if len(sys.argv) > 1 else Path()
    if script.parts[:1] != ("stages",):
        os.execv(python, [python, *sys.argv[1:]])
    connection, _ = ask(at, script.stem, os.getcwd(), os.environ, os.getpgid(0), [0, 1, 2])
    status = int(array("i", connection.recv(4))[0])
    if status < 0:
        signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    os._exit(status)


def _serve(listening: socket.socket, commands: Mapping[str, Callable[[], None]], parent: int) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those who wait
    os.setpgid(0, 0)
    try:
        while os.getppid() == parent:  # who was killed closes nothing
            if not select.select([listening], [], [], 1.0)[0]:
                continue
            connection, _ = listening.accept()
            if os.fork() == 0:
                listening.close()
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                _wait_for_one(connection, commands)
            connection.close()
    finally:
        os._exit(1)


def _wait_for_one(connection: socket.socket, commands: Mapping[str, Callable[[], None]]) -> None:
    try:
        length, streams, _, _ = socket.recv_fds(connection, 4, 3)
        request = b""
        while len(request) < array("i", length)[0]:
            request += connection.recv(1 << 16)
        command, folder, environment, group = json.loads(request)
        pid = os.fork()
        if pid == 0:
            connection.close()
            _be(commands[command], folder, environment, group, streams)
        for stream in streams:
            os.close(stream)
        with suppress(BrokenPipeError, ConnectionResetError):  # who asked was killed
            connection.sendall(array("i", [pid]).tobytes())
        ended = os.pidfd_open(pid)
        if select.select([ended, connection.fileno()], [], [])[0] == [connection.fileno()]:
            # The program that stands for the stage was killed, so the stage is.
            select.select([ended], [], [], 1.0)
            os.kill(pid, signal.SIGKILL)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        with suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall(array("i", [status]).tobytes())
    finally:
        os._exit(0)


def _be(command: Callable[[], None], folder: str, environment: dict[str, str], group: int, streams: list[int]) -> None:
    status = 1
    try:
        with suppress(PermissionError):  # a queue's worker has a session of its own
            os.setpgid(0, group)
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
        sys.stdout = sys.stderr = os.fdopen(1, "w", buffering=1)
        try:
            command()
            status = 0
        except SystemExit as ended:
            if isinstance(ended.code, str):
                print(ended.code)
            status = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        os._exit(status)
