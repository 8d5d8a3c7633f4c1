"""Processes started together end together, and one line says why."""

import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from textbloom.core.errors import UserError
from textbloom.training import launch
from textbloom.training.ranks import ALONE

# Processes that exchange numbers for ever.
TRAINING = """
import os, sys
from pathlib import Path
import torch
from textbloom.core import errors
from textbloom.training import launch

def main():
    ranks = launch.join(2)
    while True:
        ranks.sum(torch.ones(2))
        Path(sys.argv[1], str(ranks.rank)).write_text(str(os.getpid()))

errors.run(main)
"""

# A launcher of processes that only seem to train, which start sooner.
LAUNCHER = """
import sys
from textbloom.core import errors
from textbloom.training import launch

sys.orig_argv[1:] = ["-c", sys.argv[2], sys.argv[1]]
errors.run(lambda: launch.join(2))
"""
SEEMING = """
import os, sys, time
from pathlib import Path
Path(sys.argv[1], os.environ["RANK"]).write_text(str(os.getpid()))
"""


def start(program, *arguments):
    return subprocess.Popen(
        [sys.executable, "-c", program, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stderr=subprocess.PIPE,
        text=True,
    )


def started(folder, running):
    """The ids of both processes, once they are at work."""
    while not all((folder / rank).exists() and (folder / rank).read_text() for rank in "01"):
        assert running.poll() is None, running.stderr.read()
        time.sleep(0.05)
    return [int((folder / rank).read_text()) for rank in "01"]


def gone(process, seconds=20.0):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


def test_the_death_of_one_process_ends_all_with_one_line(tmp_path):
    running = start(TRAINING, tmp_path)
    first, second = started(tmp_path, running)
    os.kill(second, signal.SIGKILL)
    _, told = running.communicate(timeout=60)
    assert running.returncode == 1
    assert told.splitlines() == [
        "error: training process 1 of 2 (counted from 0) was killed by SIGKILL, so the others were ended; "
        "run again to go on from the last saved state"
    ]
    assert gone(first)


def test_processes_do_not_outlive_a_launcher_that_was_killed(tmp_path):
    running = start(TRAINING, tmp_path)
    processes = started(tmp_path, running)
    running.kill()
    running.communicate(timeout=60)
    assert all(gone(process) for process in processes)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_the_launcher_ends_all(tmp_path, number):
    running = start(LAUNCHER, tmp_path, SEEMING + "time.sleep(600)")
    processes = started(tmp_path, running)
    running.send_signal(number)
    _, told = running.communicate(timeout=60)
    assert all(gone(process) for process in processes)
    assert running.returncode in (1, 128 + number)
    assert "Traceback" not in told and len(told.splitlines()) <= 1


@pytest.mark.parametrize(
    ("failing", "told"),
    [
        ("", []),
        ("sys.exit('error: the key')", ["error: the key"]),
        (
            "sys.exit(75 if os.environ['RANK'] == '0' else 'error: the key')",
            ["error: the key", "error: trai"],
        ),
    ],
)
def test_a_failure_is_told_once_and_by_the_process_that_has_it(tmp_path, failing, told):
    running = start(LAUNCHER, tmp_path, SEEMING + failing)
    _, said = running.communicate(timeout=60)
    assert running.returncode == bool(told)
    assert [line[: len(start)] for line, start in zip(said.splitlines(), told, strict=True)] == told


def test_a_number_of_processes_that_is_not_the_number_of_devices_is_refused(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "4")
    with pytest.raises(UserError, match=r"train\.devices: is 2, but 4 processes were started: set it to 4"):
        launch.join(2)


def test_more_devices_than_the_machines_gpus_are_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(UserError, match=r"train\.devices: .* needs 4 GPUs .* has 2"):
        launch.join(4)


def test_one_device_needs_no_other_process():
    assert launch.join(1) is ALONE
