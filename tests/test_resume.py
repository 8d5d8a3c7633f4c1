"""A run ends with the same bytes whatever ends it on the way, and one of more epochs goes on from a shorter one."""

import errno
import hashlib
import json
import multiprocessing
import os
import random
import shutil
import signal
import sys
import time

import pytest
import tiny_run
from safetensors import SafetensorError

from textbloom import config
from textbloom.core import errors, paths, tensors
from textbloom.core.errors import UserError
from textbloom.training import finished, loop
from textbloom.training.trainer import Trainer

# Children of a process that has imported all this and computed nothing: quick to start, no threads to lose.
CHILDREN = multiprocessing.get_context("forkserver")
CHILDREN.set_forkserver_preload(["tiny_run", "torch._dynamo"])  # the optimizer's first step would import the latter


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))  # what children preload is found by it
    config.CAPTIONS.parent.mkdir()
    tiny_run.write_data()
    return tmp_path


@pytest.fixture
def saves_each_step(monkeypatch):
    monkeypatch.setattr(loop, "SAVE_SECONDS", -1.0)
    monkeypatch.setattr(loop, "LOOK_STEPS", 1)


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
        child = CHILDREN.Process(target=tiny_run.in_a_child, args=(project / folder, stage, project))
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

    def __init__(self, room, number=errno.ENOSPC):
        self.room, self.number, self.save = room, number, tensors.save_file

    def __call__(self, values, path, metadata):
        self.save(values, path, metadata=metadata)
        self.room -= 1
        if self.room < 0:
            os.truncate(path, path.stat().st_size // 2)
            raise SafetensorError(f"I/O error: {os.strerror(self.number)} (os error {self.number})")


def test_slow_steps_are_saved_by_the_clock(project, monkeypatch):
    monkeypatch.setattr(loop, "SAVE_SECONDS", -1.0)
    monkeypatch.setattr(loop, "LOOK_SECONDS", -1.0)
    saved, save = [], loop.state.save
    monkeypatch.setattr(
        loop.state, "save", lambda path, trainer, *rest: (saved.append(trainer.step), save(path, trainer, *rest))
    )
    tiny_run.train(project / "run", 2)
    assert saved == [1, 2, 3, 4, 5, 6]


@pytest.mark.usefixtures("saves_each_step")
def test_a_second_stage_goes_on_only_with_the_first_stage_that_it_began_with(project, monkeypatch):
    weights = project / "first.safetensors"
    weights.write_bytes(b"one")
    advance, steps = Trainer.advance, iter(range(2))
    with monkeypatch.context() as faulty:
        faulty.setattr(Trainer, "advance", lambda *batch: (next(steps), advance(*batch))[1])
        with pytest.raises(StopIteration):
            tiny_run.refine(project / "cut", 2, [weights])
    done = []
    monkeypatch.setattr(Trainer, "advance", lambda self, *batch: (done.append(self.step), advance(self, *batch))[1])
    weights.write_bytes(b"two")
    tiny_run.refine(project / "other", 2, [weights])
    assert done == [0, 1, 2, 3, 4, 5]
    done.clear()
    weights.write_bytes(b"one")
    tiny_run.refine(project / "cut", 2, [weights])
    assert done == [2, 3, 4, 5]


@pytest.mark.parametrize("number", errors.FULL)
@pytest.mark.usefixtures("saves_each_step")
def test_a_disk_that_is_full_while_the_state_is_saved_leaves_the_older_state(project, monkeypatch, number):
    tiny_run.train(project / "whole", 3, warm_start=None)
    with monkeypatch.context() as faulty:
        faulty.setattr(tensors, "save_file", FullDisk(4, number))
        with pytest.raises(SystemExit, match=r"the disk is full while writing .*state\.safetensors: free"):
            errors.run(lambda: tiny_run.train(project / "cut", 3, warm_start=None))
    (left,) = states()
    assert tensors.load_metadata(left)["step"] == 4
    tiny_run.train(project / "cut", 3, warm_start=None)
    assert files(project / "cut") == files(project / "whole")


def test_a_disk_that_is_full_while_the_outputs_are_written_costs_no_step_again(project, monkeypatch):
    with monkeypatch.context() as faulty:
        faulty.setattr(tensors, "save_file", FullDisk(room=1))
        with pytest.raises(OSError, match="No space left"):
            tiny_run.train(project / "cut", 2)
    monkeypatch.setattr(Trainer, "advance", None)
    tiny_run.train(project / "cut", 2)
    monkeypatch.undo()
    monkeypatch.chdir(project)
    tiny_run.train(project / "whole", 2)
    assert files(project / "cut") == files(project / "whole")


def recorded(folder):
    config = json.loads((folder / "base" / paths.MODEL_CONFIG).read_text())
    metrics = json.loads((folder / "train.json").read_text())
    assert config.get("parent") == metrics.get("parent")
    return metrics.get("parent")


def but_the_record(folder):
    """The hashes of all outputs but the two that name the parent, and those two without it."""
    hashes = files(folder)
    for name in (f"base/{paths.MODEL_CONFIG}", "train.json"):
        content = json.loads((folder / name).read_text())
        content.pop("parent", None)
        hashes[name] = content
    return hashes


def test_a_warm_start_ends_with_the_bytes_of_the_straight_run_and_names_its_parent(project, capsys):
    tiny_run.train(project / "short", 3)
    tiny_run.train(project / "long", 5, warm_start=True)
    said = capsys.readouterr().err
    assert "train.warm_start: going on after the 3 epochs" in said
    shutil.rmtree(finished.folder())
    tiny_run.train(project / "straight", 5)
    assert but_the_record(project / "long") == but_the_record(project / "straight")
    parent = recorded(project / "long")
    assert (parent["epochs"], parent["generator_sha256"]) == (3, files(project / "short")["base/generator.safetensors"])
    assert recorded(project / "straight") is None


def test_a_parent_that_goes_before_it_is_read_is_an_error_and_not_a_run_from_nothing(project, monkeypatch):
    tiny_run.train(project / "short", 1)
    monkeypatch.setattr(finished, "longest", lambda *which: (finished.folder() / "gone.safetensors", 1))
    with pytest.raises(UserError, match=r"gone\.safetensors is missing"):
        tiny_run.train(project / "long", 2, warm_start=True)


def test_a_warm_start_without_a_parent_says_so_and_is_the_straight_run(project, capsys):
    tiny_run.train(project / "straight", 2)
    tiny_run.train(project / "other", 1, lr=1e-3)
    capsys.readouterr()
    tiny_run.train(project / "from nothing", 2, warm_start=True)
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "warm_start" in line]
    assert "no finished run" in line and "fewer than 2 epochs" in line and "starting from nothing" in line
    assert files(project / "from nothing") == files(project / "straight")


@pytest.mark.usefixtures("saves_each_step")
def test_a_warm_start_that_is_killed_goes_on_with_its_parent(project, monkeypatch):
    tiny_run.train(project / "short", 1)
    tiny_run.train(project / "whole", 3, warm_start=True)
    advance, steps = Trainer.advance, iter(range(4))
    with monkeypatch.context() as faulty:
        faulty.setattr(Trainer, "advance", lambda *batch: (next(steps), advance(*batch))[1])
        with pytest.raises(StopIteration):
            tiny_run.train(project / "cut", 3, warm_start=True)
    assert len(states()) == 1
    tiny_run.train(project / "cut", 3, warm_start=True)
    assert files(project / "cut") == files(project / "whole")
    assert recorded(project / "cut")["epochs"] == 1


def test_of_finished_runs_the_newest_stay_and_a_run_that_nobody_can_go_on_from_leaves_nothing(project):
    for epochs in range(1, finished.KEPT + 3):
        tiny_run.train(project / "run", epochs)
    tiny_run.train(project / "run", 2, warm_start=None)
    kept = sorted(path.stem.rpartition("-")[2] for path in finished.folder().iterdir())
    assert kept == [str(epochs) for epochs in range(3, finished.KEPT + 3)]
    assert [*config.resume_root().iterdir()] == []
