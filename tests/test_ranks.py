"""Two processes train as one does: the same batch, batch statistics, losses and weights, up to float rounding."""

import os
import subprocess
import sys

import pytest
import torch
import two_ranks

from textbloom.core.tensors import load_tensors
from textbloom.training.ranks import ALONE


@pytest.fixture(scope="module")
def of_two(tmp_path_factory):
    """Reads what two processes left: name → the two ranks' tensors."""
    folder = tmp_path_factory.mktemp("two")
    command = [sys.executable, two_ranks.__file__, str(folder)]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return lambda name: [load_tensors(folder / f"{name} {rank}.safetensors") for rank in (0, 1)]


@pytest.mark.parametrize("dims", [2, 4])
def test_batch_norm_of_shares_is_batch_norm_of_the_batch_in_value_and_gradient(of_two, dims):
    parts, whole = of_two(f"batch norm {dims}"), two_ranks.normalised(ALONE, dims)
    for name in ("y", "x.grad", "in evaluation"):
        assert torch.allclose(torch.cat([part[name] for part in parts]), whole[name], rtol=1e-11, atol=1e-11), name
    for name in ("weight.grad", "bias.grad"):
        assert torch.allclose(parts[0][name] + parts[1][name], whole[name], rtol=1e-11), name
    for name in ("0.running_mean", "0.running_var", "0.num_batches_tracked"):
        assert all(torch.allclose(part[name], whole[name], rtol=1e-11) for part in parts), name


def test_the_neighbour_is_that_of_the_global_batch_and_so_is_its_gradient(of_two):
    parts, whole = of_two("rolled"), two_ranks.rolled(ALONE)
    assert torch.equal(torch.cat([part["out"] for part in parts]), whole["out"])
    assert torch.equal(torch.cat([part["gradient"] for part in parts]), whole["gradient"])


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
