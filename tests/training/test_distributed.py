"""Two processes train as one does, up to float rounding; they start and end together, and one line says why."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest
import torch
from support import two_ranks

from textbloom.core.errors import UserError
from textbloom.core.tensors import load_tensors
from textbloom.training import distributed
from textbloom.training.distributed import ALONE


@pytest.fixture(scope="module")
def of_two(tmp_path_factory):
    """Reads what two processes left: name → the two ranks' tensors."""
    folder = tmp_path_factory.mktemp("two")
    command = [sys.executable, two_ranks.__file__, str(folder)]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return lambda name: [load_tensors(folder / f"{name} {rank}.safetensors") for rank in (0, 1)]


@pytest.mark.parametrize("affine", [0, 1])
@pytest.mark.parametrize("dims", [2, 4])
def test_batch_norm_of_shares_is_batch_norm_of_the_batch_in_value_and_gradient(of_two, dims, affine):
    parts, whole = of_two(f"batch norm {dims} {affine}"), two_ranks.normalised(ALONE, dims, affine)
    for name in ("y", "x.grad", "in evaluation"):
        assert torch.allclose(torch.cat([part[name] for part in parts]), whole[name], rtol=1e-11, atol=1e-11), name
    for name in whole.keys() & {"weight.grad", "bias.grad"}:
        assert torch.allclose(parts[0][name] + parts[1][name], whole[name], rtol=1e-11), name
    for name in ("0.running_mean", "0.running_var", "0.num_batches_tracked"):
        assert all(torch.allclose(part[name], whole[name], rtol=1e-11) for part in parts), name


def test_rows_are_picked_from_the_global_batch_and_so_are_both_derivatives(of_two):
    parts, whole = of_two("picked"), two_ranks.picked(ALONE)
    for name, expected in whole.items():
        assert torch.equal(torch.cat([part[name] for part in parts]), expected), name


@pytest.mark.parametrize("run", two_ranks.RUNS)
def test_two_processes_take_the_steps_of_one(of_two, run):
    """In float32: gradients to 1e-5 of their norm, losses to 1e-5, weights to 2e-3 of what the steps changed.
    In float64 all to 1e-6.

    Norms, because a gradient that is zero but for rounding (a bias before a batch norm) agrees in nothing, and Adam
    makes whole steps of it.
    """
    first, second = of_two(run)
    whole = two_ranks.trained(ALONE, run)
    assert first.keys() == whole.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    # bfloat16 rounds to eight bits, and sums of other shares round otherwise.
    close, near = (0.1, 0.02) if "bfloat16" in run else (1e-6, 1e-6) if "float64" in run else (1e-5, 2e-3)
    assert torch.equal(together(first, "before"), together(whole, "before"))
    for step in range(two_ranks.STEPS):
        assert torch.allclose(first[f"losses/{step}"], whole[f"losses/{step}"], rtol=close, atol=close)
    gradient = together(whole, "gradient")
    assert (together(first, "gradient") - gradient).norm() < close * gradient.norm()
    changed = (together(whole, "after") - together(whole, "before")).norm()
    assert (together(first, "after") - together(whole, "after")).norm() < near * changed


def together(found, kind):
    """All numbers of a kind as one vector."""
    return torch.cat([found[name].double().flatten() for name in sorted(found) if name.startswith(f"{kind}/")])


def test_two_processes_stopped_midway_go_on_to_the_same_bytes(of_two):
    first, second = of_two("resumed")
    assert all(torch.equal(first[name], second[name]) for name in first)
    whole = [name for name in first if name.startswith("whole/")]
    assert len(whole) > 10 and all(torch.equal(first[name], first[name.replace("whole", "again")]) for name in whole)
    assert first["steps"] == 5


# Processes that exchange numbers until one of them does what the second argument says.
EXCHANGING = """
import os, signal, sys
from pathlib import Path
import torch
from textbloom.core import errors
from textbloom.training import distributed

def main():
    ranks = distributed.join(2)
    with distributed.one_line_for_a_lost_process(ranks):
        ranks.sum(torch.ones(2))
        Path(sys.argv[1], str(ranks.rank)).write_text(str(os.getpid()))
        if sys.argv[2] == "all":
            raise errors.UserError("the key")
        if sys.argv[2] == "second" and ranks.rank == 1:
            raise errors.UserError("the key")
        if sys.argv[2] == "killed" and ranks.rank == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        while True:
            ranks.sum(torch.ones(2))

errors.run(main)
"""
SECOND = "error: training process 1 of 2 (counted from 0)"
LOST = "training process 0 of 2 (counted from 0) lost the others"
ENDED = "so the others were ended; run again to go on from the last saved state"

ALSO = {f"{SECOND} ended with status 1, {ENDED}"}


def exchanging(folder, what):
    program, env = folder / "program.py", {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    program.write_text(EXCHANGING)
    command = [sys.executable, str(program), str(folder), what]
    return subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize(
    ("what", "told"),
    [
        ("all", ["error: the key"]),
        ("second", [LOST, "error: the key", f"{SECOND} ended with status 1, {ENDED}"]),
        ("killed", [LOST, f"{SECOND} was killed by SIGKILL, {ENDED}"]),
    ],
)
def test_processes_end_together_and_who_failed_is_told(tmp_path, what, told):
    running = exchanging(tmp_path, what)
    _, error = running.communicate(timeout=120)
    lines = error.splitlines()
    # Whether the first process is ended before it has noticed, or before the second one is, is a matter of chance.
    assert {line for line in told if line != LOST} <= set(lines) <= {*told, *(ALSO if what == "all" else [])}
    assert running.returncode == 1


def test_a_signal_to_the_process_that_started_them_ends_all(tmp_path):
    running = exchanging(tmp_path, "for ever")
    while not all((tmp_path / rank).exists() and (tmp_path / rank).read_text() for rank in "01"):
        assert running.poll() is None
        time.sleep(0.05)
    running.terminate()
    _, error = running.communicate(timeout=120)
    assert running.returncode == 128 + signal.SIGTERM and "Traceback" not in error
    for rank in "01":
        assert not psutil.pid_exists(int((tmp_path / rank).read_text()))


def test_a_number_of_processes_that_is_not_the_number_of_devices_is_refused(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "4")
    with pytest.raises(UserError, match=r"train\.devices: is 2, but 4 processes were started: set it to 4"):
        distributed.join(2)


def test_more_devices_than_the_machines_gpus_are_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(UserError, match=r"train\.devices: .* needs 4 GPUs .* has 2"):
        distributed.join(4)
