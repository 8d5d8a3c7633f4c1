"""An unfinished run has one folder, named by all that decides its result, and one process at a time works in it."""

import errno
import fcntl
import os
import re
import shutil
import subprocess
import sys
from datetime import datetime, timedelta

import pytest

from textbloom.core import checkpoint, locks
from textbloom.core.errors import UserError


def test_a_run_has_a_folder_by_its_settings_the_bytes_of_its_data_and_the_source_of_its_rooms(tmp_path, monkeypatch):
    rooms = tmp_path / "rooms"
    for name in ("training", "viz"):
        (rooms / name).mkdir(parents=True)
        (rooms / name / "code.py").write_text("one")
    monkeypatch.setattr(checkpoint, "_PACKAGE", rooms)
    data, moved = tmp_path / "data", tmp_path / "moved"

    def name(settings, file=data):
        return checkpoint.run_folder(tmp_path, settings, [file], ["training"])

    data.write_bytes(b"one")
    shutil.copy(data, moved)
    first = name({"lr": 1, "epochs": 2})
    assert first.parent == tmp_path
    assert first == name({"epochs": 2, "lr": 1}) == name({"lr": 1, "epochs": 2}, moved)
    (rooms / "viz" / "code.py").write_text("two")
    assert first == name({"lr": 1, "epochs": 2})

    others = [name({"lr": 2, "epochs": 2})]
    data.write_bytes(b"two")
    others.append(name({"lr": 1, "epochs": 2}))
    (rooms / "training" / "code.py").write_text("two")
    others.append(name({"lr": 1, "epochs": 2}))
    (rooms / "training" / "code.py").rename(rooms / "training" / "other.py")
    others.append(name({"lr": 1, "epochs": 2}))
    assert len({first, *others}) == 5


def test_a_second_process_says_who_trains_and_waits_for_it(tmp_path):
    folder = tmp_path / "run"
    code = "import sys; from pathlib import Path; from textbloom.core import checkpoint\n"
    code += "with checkpoint.lock(Path(sys.argv[1])): print(Path(sys.argv[2]).read_text())"
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", code, str(folder), str(tmp_path / "result")]
    with checkpoint.lock(folder):
        other = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)
        assert other.stderr is not None
        said = other.stderr.readline()
        (tmp_path / "result").write_text("trained")
        checkpoint.remove(folder)
    assert (other.communicate(), other.returncode) == (("trained\n", ""), 0)
    named = re.search(
        rf"process {os.getpid()} on \S+ since (\S+ \S+) already trains this very run; this one waits for it\n", said
    )
    assert named is not None
    assert abs(datetime.now().astimezone() - datetime.fromisoformat(named[1])) < timedelta(minutes=1)


def test_a_lock_on_a_folder_that_was_removed_meanwhile_is_taken_anew(tmp_path, monkeypatch):
    folder, flock = tmp_path / "run", fcntl.flock

    def after_the_holder_removes_it(file, how):
        monkeypatch.setattr(fcntl, "flock", flock)
        shutil.rmtree(folder)
        flock(file, how)

    monkeypatch.setattr(fcntl, "flock", after_the_holder_removes_it)
    with (
        locks.exclusive(folder / "lock", "trains"),
        pytest.raises(UserError, match=f"process {os.getpid()} on .* since .* trains; wait for it or end it"),
        locks.exclusive(folder / "lock", "trains"),
    ):
        raise AssertionError("two hold the folder")


def test_a_file_system_without_locks_is_one_line(tmp_path, monkeypatch):
    def refuse(file, how):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(UserError, match=r"run/lock: this file system has no locks"), checkpoint.lock(tmp_path / "run"):
        raise AssertionError("nothing is locked")
