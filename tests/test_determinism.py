"""Equal bytes: each purpose has randomness of its own, and the portable mode computes alike on unlike processors."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from support.dvc_project import ran
from test_objectives import CPU, networks, recipe
from test_training import prepared

from textbloom.core import runtime, seeding
from textbloom.core.errors import UserError
from textbloom.training import augmentation, data, trainer
from textbloom.training.data import TrainingPairs
from textbloom.training.trainer import Trainer

STEPS = """
import hashlib, os, sys, torch
from textbloom.core import runtime
runtime.portable("portable" in sys.argv)
from test_objectives import CPU, networks, recipe
from test_training import prepared
from textbloom.core import runtime
from textbloom.training.data import TrainingPairs
from textbloom.training.trainer import Trainer
found = Trainer(*networks(), recipe(autocast=runtime.autocast_dtype("auto", CPU)), CPU)
for pairs in TrainingPairs(prepared(64), 32, 7, CPU).epoch(0):
    found.advance(*pairs)
weights = b"".join(weight.numpy().tobytes() for weight in found.ema.network.state_dict().values())
print(hashlib.sha256(weights).hexdigest())
"""
# What the libraries take for a processor, and a number of threads.
MACHINES = [
    {},
    {"OMP_NUM_THREADS": "1", "MKL_ENABLE_INSTRUCTIONS": "SSE4_2", "ONEDNN_MAX_CPU_ISA": "SSE41"},
    {"OMP_NUM_THREADS": "3", "ATEN_CPU_CAPABILITY": "default", "MKL_ENABLE_INSTRUCTIONS": "AVX2"},
]


def weights_after_two_steps(*arguments: str, **machine: str) -> str:
    root = Path(__file__).parents[1]
    path = os.pathsep.join([str(root / "src"), str(root / "tests")])
    return subprocess.run(
        [sys.executable, "-c", STEPS, *arguments],
        env={**os.environ, "PYTHONPATH": path, **machine},
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def test_portable_training_gives_the_same_bytes_whatever_the_libraries_take_for_the_processor():
    assert len({weights_after_two_steps("portable", **machine) for machine in MACHINES}) == 1
    assert len({weights_after_two_steps(**machine) for machine in MACHINES}) == 3, "the machines are not unlike"


def test_portable_refuses_a_processor_that_cannot(monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": False})
    with pytest.raises(UserError, match=r"portable: needs .* AVX2"):
        runtime.portable(True)
    runtime.portable(False)


@pytest.fixture
def deterministic():
    runtime.deterministic(True)
    yield
    torch.use_deterministic_algorithms(False)


def trained(device):
    found = Trainer(*networks(), recipe(), device)
    for pairs in TrainingPairs(prepared(), 4, 7, device).epoch(0):
        found.advance(*pairs)
    return b"".join(weight.cpu().numpy().tobytes() for weight in found.ema.network.state_dict().values())


def test_a_cpu_repeats_to_the_bit_with_and_without_the_deterministic_algorithms(request):
    plain = trained(CPU)
    request.getfixturevalue("deterministic")
    assert trained(CPU) == plain


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_repeats_to_the_bit_when_asked(deterministic):
    device = torch.device("cuda")
    assert trained(device) == trained(device)


def observed(monkeypatch, disturbed):
    """Three steps' pictures, embeddings and noise; `disturbed`: the purpose whose generator draws something more."""
    seen = {"pictures": [], "text": [], "noise": []}

    def generator_for(seed, purpose, *rest):
        generator = seeding.generator_for(seed, purpose, *rest)
        if purpose == disturbed:
            torch.rand(3, generator=generator)
        return generator

    for module in (augmentation, data, trainer):
        monkeypatch.setattr(module, "generator_for", generator_for)
    found = Trainer(*networks(), recipe(), CPU)
    noise = found._noise
    monkeypatch.setattr(found, "_noise", lambda *rest: seen["noise"].append(noise(*rest)) or seen["noise"][-1])
    for pictures, text in TrainingPairs(prepared(captions=3), 4, 7, CPU, flips=True).epoch(0):
        seen["pictures"].append(pictures)
        seen["text"].append(text)
        found.advance(pictures, text)
    return seen


@pytest.mark.parametrize(
    ("disturbed", "moved"),
    [
        ("order", {"pictures", "text"}),
        ("caption choice", {"text"}),
        ("flips", {"pictures"}),
        ("noise", {"noise"}),
        ("progress noise", set()),
    ],
)
def test_a_purpose_that_draws_more_leaves_the_others_as_they_were(monkeypatch, disturbed, moved):
    before, after = observed(monkeypatch, None), observed(monkeypatch, disturbed)
    unlike = {
        name for name in before if not all(torch.equal(a, b) for a, b in zip(before[name], after[name], strict=True))
    }
    assert unlike == moved


def test_training_leaves_the_global_generator_alone_and_does_not_listen_to_it():
    torch.manual_seed(1)
    found = networks()
    state = torch.get_rng_state()
    Trainer(*found, recipe(), CPU).advance(torch.zeros(4, 3, 64, 64), torch.zeros(4, 12))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.slow
def test_a_portable_pipeline_has_one_lock_whatever_the_threads_and_instructions(built, tmp_path, monkeypatch):
    locks = []
    for number, machine in enumerate(MACHINES[1:]):
        project = built.copy(tmp_path / str(number))
        for name, value in machine.items():
            monkeypatch.setenv(name, value)
        project.run("textbloom", "params", "--set", "portable=true")
        assert ran(project.run("dvc", "repro"))[-3:] == ["train", "evaluate", "sample"]
        locks.append(project.text("dvc.lock"))
    assert locks[0] == locks[1] != built.text("dvc.lock")
