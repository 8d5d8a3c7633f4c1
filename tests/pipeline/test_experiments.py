"""Experiments: a killed one goes on where it was; two workers of one queue share the machine, the cache, no state."""

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from support.dvc_project import environment

from textbloom.core.tensors import load_metadata

RATES = {"slow": "0.0001", "fast": "0.001"}


@pytest.mark.slow
def test_two_queue_workers_finish_each_with_a_state_of_its_own(built, tmp_path):
    project = built.copy(tmp_path)
    for name, rate in RATES.items():
        project.run("dvc", "exp", "run", "--queue", "--name", name, "-S", f"train.lr={rate}", "-S", "train.epochs=20")
    project.run("dvc", "queue", "start", "--jobs", "2")
    until, told, folders = time.monotonic() + 1200, "Running", set()
    while time.monotonic() < until and ("Queued" in told or "Running" in told):
        time.sleep(1)
        folders |= {path.name for path in (project.folder / ".dvc/tmp/resume").glob("*")}
        told = project.run("dvc", "queue", "status")
    assert told.count("Success") == 2, told
    assert len(folders) == 2, folders
    refs = project.run("git", "for-each-ref", "--format=%(refname)", "refs/exps").split()
    losses = set()
    for name in RATES:
        (ref,) = [ref for ref in refs if ref.endswith(f"/{name}")]
        losses.add(json.loads(project.run("git", "show", f"{ref}:metrics/train.json"))["loss_generator"])
    assert len(losses) == 2


def ended_once(seen: Callable[[], object], command: list[str], folder: Path, log: Path) -> None:
    """Run until something is seen, then kill all of it at once, as a lost session does."""
    with log.open("wb") as file:
        running = subprocess.Popen(
            command, cwd=folder, env=environment(), stdout=file, stderr=file, start_new_session=True
        )
    until = time.monotonic() + 600
    while not seen() and running.poll() is None and time.monotonic() < until:
        time.sleep(0.5)
    assert running.poll() is None, log.read_text(encoding="utf-8")[-2000:]
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    assert seen()


@pytest.mark.slow
def test_a_killed_experiment_goes_on_where_it_was(built, tmp_path):
    project, log = built.copy(tmp_path / "project"), tmp_path / "log"
    command = ["dvc", "exp", "run", "--temp", "-S", "train.epochs=100000"]

    def saved():
        return list((project.folder / ".dvc/tmp/resume").glob("*/state.safetensors"))

    def told():
        return [int(number) for number in re.findall(r"(\d+)/\d+ \[", log.read_text(encoding="utf-8"))]

    ended_once(saved, command, project.folder, log)
    assert told()[0] == 0
    (state,) = saved()
    steps = load_metadata(state)["step"]
    ended_once(told, command, project.folder, log)
    assert told()[0] == steps * 128 > 0
