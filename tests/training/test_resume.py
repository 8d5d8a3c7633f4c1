"""A run ends with the same bytes whatever ends it on the way."""

import errno
import hashlib
import multiprocessing
import os
import random
import signal
import sys
import time

import pytest
from safetensors import SafetensorError
from support import tiny_training

from textbloom import config
from textbloom.core import errors, tensors
from textbloom.training.trainer import Trainer

# Children of a process that has imported all this and computed nothing: quick to start, no threads to lose.
CHILDREN = multiprocessing.get_context("forkserver")
CHILDREN.set_forkserver_preload(
    ["support.tiny_training", "torch._dynamo"]
)  # the optimizer's first step would import the latter


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))  # what children preload is found by it
    config.CAPTIONS.parent.mkdir()
    tiny_training.write_data()
    return tmp_path


def files(folder):
    """Every output of a run by its bytes, but the facts of the machine."""
    found = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "provenance.json")
    assert found
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


def states():
    return [*config.resume_root().glob("*/state.safetensors")]


@pytest.mark.parametrize(
    ("stage", "by"),
    [
        ("train", signal.SIGKILL),
        ("train", signal.SIGTERM),
        ("train", signal.SIGINT),
        ("refine", signal.SIGKILL),
        pytest.param("refine", signal.SIGTERM, marks=pytest.mark.slow),
        pytest.param("refine", signal.SIGINT, marks=pytest.mark.slow),
    ],
)
def test_a_run_ended_at_random_moments_goes_on_to_the_bytes_of_one_that_was_not(project, stage, by):
    def start(folder):
        child = CHILDREN.Process(target=tiny_training.stage_in_a_child, args=(project / folder, stage, project))
        child.start()
        return child

    whole = start("whole")
    whole.join()
    assert whole.exitcode == 0
    chance, ended = random.Random(f"{stage} {by}"), 0
    for turn in range(3):
        child, before = start("cut"), [path.stat().st_mtime_ns for path in states()]
        # not before it has done a step of its own, so that each turn gets further
        while child.is_alive() and [path.stat().st_mtime_ns for path in states()] == before:
            time.sleep(0.002)
        time.sleep(chance.uniform(0.0, 0.1))
        if turn < 2 and child.is_alive():
            os.kill(child.pid, by)
            ended += 1
        child.join()
    assert child.exitcode == 0 and ended, "nothing was ended, so nothing was tested"
    assert files(project / "cut") == files(project / "whole")
    assert states() == []


class FullDisk:
    """A disk that takes `room` more files and then half of one."""

    def __init__(self, room):
        self.room, self.save = room, tensors.save_file

    def __call__(self, values, path, metadata):
        self.save(values, path, metadata=metadata)
        self.room -= 1
        if self.room < 0:
            os.truncate(path, path.stat().st_size // 2)
            raise SafetensorError(f"I/O error: {os.strerror(errno.ENOSPC)} (os error {errno.ENOSPC})")


@pytest.mark.usefixtures("_saves_each_step")
def test_a_second_stage_goes_on_only_with_the_first_stage_that_it_began_with(project, monkeypatch):
    weights = project / "first.safetensors"
    weights.write_bytes(b"one")
    advance, steps = Trainer.advance, iter(range(1))
    with monkeypatch.context() as faulty:
        faulty.setattr(Trainer, "advance", lambda *batch: (next(steps), advance(*batch))[1])
        with pytest.raises(StopIteration):
            tiny_training.refine_stage(project / "cut", 1, [weights])
    done = []
    monkeypatch.setattr(Trainer, "advance", lambda self, *batch: (done.append(self.step), advance(self, *batch))[1])
    weights.write_bytes(b"two")
    tiny_training.refine_stage(project / "other", 1, [weights])
    assert done == [0, 1, 2]
    done.clear()
    weights.write_bytes(b"one")
    tiny_training.refine_stage(project / "cut", 1, [weights])
    assert done == [1, 2]


@pytest.mark.usefixtures("_saves_each_step")
def test_a_disk_that_is_full_while_the_state_is_saved_leaves_the_older_state(project, monkeypatch):
    tiny_training.train_stage(project / "whole", 2)
    with monkeypatch.context() as faulty:
        faulty.setattr(tensors, "save_file", FullDisk(room=4))
        with pytest.raises(SystemExit, match=r"the disk is full while writing .*state\.safetensors: free"):
            errors.run(lambda: tiny_training.train_stage(project / "cut", 2))
    (left,) = states()
    assert tensors.load_metadata(left)["step"] == 4
    tiny_training.train_stage(project / "cut", 2)
    assert files(project / "cut") == files(project / "whole")


def test_a_disk_that_is_full_while_the_outputs_are_written_costs_no_step_again(project, monkeypatch):
    with monkeypatch.context() as faulty:
        faulty.setattr(tensors, "save_file", FullDisk(room=1))
        with pytest.raises(OSError, match="No space left"):
            tiny_training.train_stage(project / "cut", 2)
    monkeypatch.setattr(Trainer, "advance", None)
    tiny_training.train_stage(project / "cut", 2)
    monkeypatch.undo()
    monkeypatch.chdir(project)
    tiny_training.train_stage(project / "whole", 2)
    assert files(project / "cut") == files(project / "whole")
