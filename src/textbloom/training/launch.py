"""The processes of a run on several devices: started together, one a device, and ended together."""

import atexit
import os
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from subprocess import PIPE, Popen
from typing import NoReturn

import torch
import torch.distributed as dist

from textbloom.core.errors import UserError
from textbloom.training.ranks import ALONE, LOST, Ranks

_HERE = "127.0.0.1"
_PORT = "TEXTBLOOM_PORT"  # where the processes started here meet
_LOOK_SECONDS = 0.2
_GRACE_SECONDS = 10.0  # for the others to end by themselves once one has


def join(devices: int) -> Ranks:
    """This process's place among the `devices` processes that train together.

    A process that torchrun started (or whatever sets RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT) takes
    the place it was given. Another one, unless it is to train alone, starts that many copies of its own program on
    this machine, waits for them and ends as they did: the call does not return there.

    Processes on GPUs take one each and talk over NCCL, on CPUs over gloo. Raises UserError where `train.devices` fits
    neither the processes started nor the GPUs of the machine.
    """
    world = int(os.environ.get("WORLD_SIZE", 0))
    if world and world != devices:
        raise UserError(f"train.devices: is {devices}, but {world} processes were started: set it to {world}")
    if devices == 1:
        return ALONE
    _check_gpus(int(os.environ["LOCAL_RANK"]) + 1 if world else devices)
    if not world:
        _launch(devices)
    return _joined(int(os.environ["RANK"]), devices)


def _check_gpus(needed: int) -> None:
    there = torch.cuda.device_count()
    if 0 < there < needed:
        raise UserError(f"train.devices: this machine needs {needed} GPUs for it and has {there}: lower it")


def _joined(rank: int, world: int) -> Ranks:
    launched_here = _PORT in os.environ
    backend = "gloo"
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        backend = "nccl"
    if launched_here:
        threading.Thread(target=_end_with_the_launcher, daemon=True).start()
        store = dist.TCPStore(_HERE, int(os.environ[_PORT]), is_master=False)
        dist.init_process_group(backend, store=store, rank=rank, world_size=world)
    else:
        dist.init_process_group(backend)
    atexit.register(dist.destroy_process_group)
    return Ranks(rank, world, launched_here)


def _end_with_the_launcher() -> None:
    """The launcher holds the other end of this process's stdin: however it ends, it is closed then."""
    os.read(0, 1)
    os._exit(1)


def _launch(devices: int) -> NoReturn:
    """Start the processes, wait for them, and exit: 0 when all succeeded, else with one line saying what happened."""
    store = dist.TCPStore(_HERE, 0, is_master=True, wait_for_workers=False)
    workers: list[Popen[bytes]] = []
    earlier = signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    with tempfile.TemporaryDirectory() as folder:
        errors = [Path(folder, str(rank)) for rank in range(devices)]
        try:
            for rank, error in enumerate(errors):
                workers.append(_start(rank, devices, store.port, error))
            while any(worker.poll() is None for worker in workers) and not _failed(workers):
                time.sleep(_LOOK_SECONDS)
            failed = _failed(workers)
            if failed:
                _wait(workers)
        finally:
            _end(workers)
            signal.signal(signal.SIGTERM, earlier)
        sys.exit(_verdict(workers, failed, errors))


def _start(rank: int, world: int, port: int, error: Path) -> "Popen[bytes]":
    loopback = next((name for _, name in socket.if_nameindex() if name.startswith("lo")), "lo")
    ours = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world), _PORT: str(port)}
    # As many threads in all as one process would use, unless the person has set their number.
    defaults = {"OMP_NUM_THREADS": str(max(1, torch.get_num_threads() // world)), "GLOO_SOCKET_IFNAME": loopback}
    with error.open("wb") as file:
        return Popen(
            [sys.executable, *sys.orig_argv[1:]],
            env={**defaults, **os.environ, **ours},
            stdin=PIPE,
            # The first process speaks to the person; the others say the same, or something only when they fail alone.
            stderr=None if rank == 0 else file,
            start_new_session=True,  # Ctrl-C reaches the launcher alone, which ends them
        )


def _failed(workers: Sequence["Popen[bytes]"]) -> list[int]:
    return [rank for rank, worker in enumerate(workers) if worker.poll()]


def _wait(workers: Sequence["Popen[bytes]"]) -> None:
    until = time.monotonic() + _GRACE_SECONDS
    while any(worker.poll() is None for worker in workers) and time.monotonic() < until:
        time.sleep(_LOOK_SECONDS)


def _end(workers: Sequence["Popen[bytes]"]) -> None:
    for worker in workers:
        worker.terminate()
    _wait(workers)
    for worker in workers:
        worker.kill()
        worker.wait()


def _verdict(workers: Sequence["Popen[bytes]"], failed: Sequence[int], errors: Sequence[Path]) -> int | str:
    """What to exit with: a status, or a line for the person where no process has told what went wrong."""
    if not failed:
        return 0
    if workers[0].returncode > 0 and workers[0].returncode != LOST:
        return workers[0].returncode  # it has told
    cause = next((rank for rank in failed if workers[rank].returncode != LOST), failed[0])
    sys.stderr.write(errors[cause].read_text(encoding="utf-8", errors="replace"))
    status = workers[cause].returncode
    how = f"was killed by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
    return (
        f"error: training process {cause} of {len(workers)} (counted from 0) {how}, so the others were ended; "
        "run again to go on from the last saved state"
    )
