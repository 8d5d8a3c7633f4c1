"""A run that goes wrong says so in one line: values not finite, a discriminator that has won, memory that runs out."""

import math
import re
import time

import pytest
import torch
from test_objectives import CPU, networks, recipe
from test_training import prepared, train

from textbloom.core.errors import UserError
from textbloom.training import health, loop, state
from textbloom.training.data import TrainingPairs
from textbloom.training.report import summary
from textbloom.training.trainer import TERMS, Trainer


@pytest.fixture
def saves_each_step(monkeypatch):
    monkeypatch.setattr(loop, "SAVE_SECONDS", -1.0)
    monkeypatch.setattr(loop, "LOOK_STEPS", 1)


def advancing(monkeypatch, change):
    """Each step's losses go through `change(trainer, losses)`."""
    advance = Trainer.advance
    monkeypatch.setattr(Trainer, "advance", lambda self, *batch: change(self, advance(self, *batch)))


@pytest.mark.usefixtures("saves_each_step")
@pytest.mark.parametrize(("term", "value"), [*((term, math.nan) for term in TERMS), ("d_fake", math.inf)])
def test_any_term_that_is_not_finite_stops_the_run_at_its_step_with_the_state_before(
    tmp_path, monkeypatch, term, value
):
    def spoil(trainer, losses):
        losses[TERMS.index(term)] = value if trainer.step == 2 else 0.0
        return losses

    advancing(monkeypatch, spoil)
    with pytest.raises(
        UserError,
        match=rf"the loss {term} is -?(nan|inf) by step 2: lower train\.lr .* state stays in .*state\.safetensors",
    ):
        train(tmp_path)
    fresh = Trainer(*networks(), recipe(), CPU)
    state.restore(state.file(tmp_path), fresh)
    assert fresh.step == 1


@pytest.mark.usefixtures("saves_each_step")
@pytest.mark.parametrize("network", ["generator", "discriminator", "ema"])
def test_a_state_with_a_weight_that_is_not_finite_is_never_saved_though_the_loss_is(tmp_path, monkeypatch, network):
    def spoil(trainer, losses):
        if trainer.step == 3:
            next(state.networks(trainer)[network].parameters()).data[0] = math.inf
        return losses

    advancing(monkeypatch, spoil)
    with pytest.raises(UserError, match=rf"a weight of the {network} is not finite by step 3: lower train\.lr"):
        train(tmp_path)
    fresh = Trainer(*networks(), recipe(), CPU)
    state.restore(state.file(tmp_path), fresh)
    assert fresh.step == 2
    health.check_weights(state.networks(fresh), 2, "train", state.file(tmp_path))


def test_a_run_that_diverges_before_its_first_save_names_no_state(tmp_path, monkeypatch):
    advancing(monkeypatch, lambda trainer, losses: losses * math.nan)
    with pytest.raises(UserError, match=r"by step 3: lower train\.lr or set train\.precision to fp32$"):
        train(tmp_path)


@pytest.mark.parametrize(
    ("losses", "smoothing", "epoch"),
    [
        ([0.04] * 4, 0.0, None),
        ([0.04] * 5, 0.0, 5),
        ([1.0, *[0.04] * 9], 0.0, 6),
        ([0.04, 0.04, 0.04, 0.04, 0.06, 0.04, 0.04, 0.04, 0.04], 0.0, None),
        # a target of 0.9 costs at least -0.9 ln 0.9 - 0.1 ln 0.1 = 0.3251 nats
        ([0.3251 + 0.04] * 5, 0.1, 5),
        ([0.3251 + 0.06] * 9, 0.1, None),
    ],
)
def test_a_discriminator_has_won_when_its_loss_was_near_the_least_for_five_epochs_in_a_row(losses, smoothing, epoch):
    assert health.won_at(losses, smoothing) == epoch


def test_a_discriminator_that_has_won_is_told_once_and_in_the_metrics(tmp_path, monkeypatch, capsys):
    def won(trainer, losses):
        losses[TERMS.index("discriminator")] = 0.01 if trainer.step > 3 else 1.0
        return losses

    pairs = TrainingPairs(prepared(), 4, seed=7, device=CPU)
    with monkeypatch.context() as faulty:
        advancing(faulty, won)
        trainer, log = train(tmp_path / "won", epochs=8, label_smoothing=0.0)
    said = [line for line in capsys.readouterr().err.splitlines() if "has won" in line]
    assert len(said) == 1 and "warning: the discriminator has won by epoch 6" in said[0]
    assert summary(trainer, pairs, log)["discriminator_won_at_epoch"] == 6
    trainer, log = train(tmp_path / "fair", epochs=6)
    assert "has won" not in capsys.readouterr().err
    assert "discriminator_won_at_epoch" not in summary(trainer, pairs, log)


REFUSALS = [
    lambda: torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    lambda: RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory: you tried"),
    lambda: RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    lambda: RuntimeError("alloc_cpu.cpp:75 DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes."),
]


def holding(monkeypatch, most, refusal):
    """A memory in which a step of more than `most` pictures does not fit, which shows after the first update."""
    loss = Trainer._generator_loss

    def refuse(self, images, *rest):
        if len(images) > most:
            raise refusal()
        return loss(self, images, *rest)

    monkeypatch.setattr(Trainer, "_generator_loss", refuse)


@pytest.mark.parametrize("refusal", REFUSALS)
def test_memory_that_runs_out_is_one_line_with_a_batch_size_that_fits(tmp_path, monkeypatch, refusal):
    pairs, fixed = TrainingPairs(prepared(), 12, 7, CPU), loop.Fixed(torch.ones(2, 5), torch.ones(2, 12))
    for most, said in [(7, r"one of 6 does: set refine\.batch_size to 6"), (1, r"nor does one of 3: lower model\.")]:
        with monkeypatch.context() as small:
            holding(small, most, refusal)
            trainer = Trainer(*networks(), recipe(), CPU)
            with pytest.raises(UserError, match=rf"refine\.batch_size: a step of 12 pictures does not fit.*{said}"):
                loop.train(trainer, pairs, fixed, epochs=1, grid_every=1, folder=tmp_path, section="refine")
    holding(monkeypatch, 6, refusal)
    half = TrainingPairs(prepared(), 6, 7, CPU)
    loop.train(Trainer(*networks(), recipe(), CPU), half, fixed, epochs=1, grid_every=1, folder=tmp_path)


@pytest.mark.parametrize(
    ("most", "accumulate", "said"),
    [
        (3, 2, r"one of 6 does: set train\.batch_size to 6, or train\.accumulate higher"),
        (1, 2, r"nor does one of 6: lower model\.features"),
        (1, 6, r"memory: lower model\.features"),  # two a micro-batch are the least
    ],
)
def test_the_batch_size_that_fits_is_a_multiple_of_the_micro_batches(tmp_path, monkeypatch, most, accumulate, said):
    holding(monkeypatch, most, REFUSALS[0])
    trainer = Trainer(*networks(), recipe(accumulate=accumulate), CPU)
    pairs = TrainingPairs(prepared(), 12, 7, CPU)
    fixed = loop.Fixed(torch.ones(2, 5), torch.ones(2, 12))
    with pytest.raises(UserError, match=rf"train\.batch_size: a step of 12 pictures does not fit in .*{said}"):
        loop.train(trainer, pairs, fixed, epochs=1, grid_every=1, folder=tmp_path)


def test_with_several_devices_the_global_batch_is_named():
    error = health.explained(REFUSALS[0](), None, at_once=8, shares=4, section="train")
    assert str(error) == (
        "train.batch_size: a step of 32 pictures does not fit in memory; try 16, or a larger train.accumulate"
    )


def test_another_error_of_a_step_is_not_taken_for_memory(tmp_path, monkeypatch):
    holding(monkeypatch, 1, lambda: RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        train(tmp_path)


def test_the_allocator_of_the_cpu_refuses_in_words_that_are_understood():
    with pytest.raises(RuntimeError) as refused:
        torch.empty(2**62, dtype=torch.uint8)
    assert health.is_out_of_memory(refused.value)


def last_line(text):
    return text.rstrip().rpartition("\r")[2]


@pytest.mark.usefixtures("saves_each_step")
def test_progress_is_one_line_with_epoch_losses_images_a_second_and_the_time_left(tmp_path, capsys):
    _, log = train(tmp_path)
    d, g = log.losses[-1][:2]
    line = last_line(capsys.readouterr().err)
    assert re.search(rf"36/36 \[\d\d:\d\d<\d\d:\d\d, +[\d.]+ images/s, epoch 3/3 D {d:.3f} G {g:.3f}\]", line), line


@pytest.mark.usefixtures("saves_each_step")
def test_the_rate_after_a_resume_is_that_of_the_steps_done_since(tmp_path, capsys):
    train(tmp_path, epochs=2)
    capsys.readouterr()
    # one epoch more: three steps of four pictures, a tenth of a second each at least
    train(tmp_path, epochs=3, after_step=lambda step: time.sleep(0.1))
    line = last_line(capsys.readouterr().err)
    rate = re.search(r"36/36 .* ([\d.]+) images/s", line)
    assert rate is not None and float(rate[1]) < 40, line
