"""The loop: the same bytes for the same seed, and one line when a run goes wrong."""

import math
import re
import time
from types import SimpleNamespace

import pytest
import torch
from support.tiny_training import train, trainer

from textbloom.core import checkpoint, runtime
from textbloom.core.errors import UserError
from textbloom.core.tensors import load_metadata
from textbloom.training import loop
from textbloom.training.objectives.gan_cls import GanCls


def weights(found):
    return [tensor for network in found.modules().values() for tensor in network.state_dict().values()]


def same(ours, theirs):
    return all(torch.equal(a, b) for a, b in zip(weights(ours), weights(theirs), strict=True))


@pytest.mark.parametrize("autocast", [None, torch.bfloat16])
def test_two_runs_of_a_seed_end_with_the_same_bytes(tmp_path, autocast):
    first, log = train(tmp_path / "a", autocast=autocast)
    second, again = train(tmp_path / "b", autocast=autocast)
    other, _ = train(tmp_path / "c", autocast=autocast, seed=4)
    assert same(first, second) and log.losses == again.losses and torch.equal(log.sheets, again.sheets)
    assert not same(first, other)
    assert (len(log.losses), log.sheet_epochs, tuple(log.sheets.shape)) == (3, [2, 3], (2, 2, 3, 64, 64))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_repeats_to_the_bit_when_asked(tmp_path):
    runtime.deterministic(True)
    try:
        first, second = (train(tmp_path / name, device=torch.device("cuda"))[0] for name in "ab")
        assert same(first, second)
    finally:
        torch.use_deterministic_algorithms(False)


class Killed(Exception):
    pass


@pytest.mark.usefixtures("_saves_each_step")
@pytest.mark.parametrize("at", [1, 3, 4, 7])
def test_a_killed_run_goes_on_to_the_bytes_of_one_that_was_not(tmp_path, at):
    whole, log = train(tmp_path / "whole")

    def kill(step):
        if step == at:
            raise Killed

    with pytest.raises(Killed):
        train(tmp_path / "cut", after_step=kill)
    resumed, again = train(tmp_path / "cut")
    assert same(whole, resumed) and log.losses == again.losses and torch.equal(log.sheets, again.sheets)
    assert again.steps_here == 9 - at


def test_slow_steps_are_saved_by_the_clock(tmp_path, monkeypatch):
    monkeypatch.setattr("textbloom.training.loop.SAVE_SECONDS", -1.0)
    monkeypatch.setattr("textbloom.training.loop.LOOK_SECONDS", -1.0)
    saved = []
    train(tmp_path, after_step=lambda step: saved.append(load_metadata(tmp_path / checkpoint.STATE)["step"]))
    assert saved == [1, 2, 3, 4, 5, 6, 7, 8]


@pytest.mark.usefixtures("_saves_each_step")
@pytest.mark.parametrize(("term", "value"), [("generator", math.nan), ("g_pixels", -math.inf), ("d_fake", math.inf)])
def test_a_loss_that_is_not_finite_stops_the_run_at_its_step_with_the_state_before(
    tmp_path, after_each_step, term, value
):
    after_each_step(lambda found, losses: losses | ({term: torch.tensor(value)} if found.step == 2 else {}))
    told = rf"the loss {term} is {value} by step 2: lower train\.lr .* state stays in .*state\.safetensors"
    with pytest.raises(UserError, match=told):
        train(tmp_path)
    fresh = trainer()
    fresh.restore(tmp_path / checkpoint.STATE)
    assert fresh.step == 1


@pytest.mark.usefixtures("_saves_each_step")
@pytest.mark.parametrize("network", ["generator", "discriminator", "ema"])
def test_a_state_with_a_weight_that_is_not_finite_is_never_saved_though_the_loss_is(tmp_path, after_each_step, network):
    def spoil(found, losses):
        if found.step == 3:
            next(found.modules()[network].parameters()).data[0] = math.inf
        return losses

    after_each_step(spoil)
    with pytest.raises(UserError, match=rf"a weight of the {network} is not finite by step 3: lower train\.lr"):
        train(tmp_path)
    fresh = trainer()
    fresh.restore(tmp_path / checkpoint.STATE)
    assert fresh.step == 2 and all(torch.isfinite(tensor).all() for tensor in weights(fresh))


def test_a_run_that_diverges_before_its_first_save_names_no_state(tmp_path, after_each_step):
    after_each_step(lambda found, losses: {name: value * math.nan for name, value in losses.items()})
    with pytest.raises(UserError, match=r"by step 3: lower train\.lr or set train\.precision to fp32$"):
        train(tmp_path)


def test_a_warning_of_the_objective_is_told_once(tmp_path, after_each_step, capsys):
    after_each_step(lambda found, losses: losses | {"discriminator": torch.tensor(0.01 if found.step > 3 else 1.0)})
    train(tmp_path, epochs=8, objective={"label_smoothing": 0.0})
    warnings = [line for line in capsys.readouterr().err.splitlines() if "has won" in line]
    assert len(warnings) == 1 and "warning: the discriminator has won by epoch 6" in warnings[0]


REFUSALS = [
    lambda: torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    lambda: RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory: you tried"),
    lambda: RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    lambda: RuntimeError("alloc_cpu.cpp:75 DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes."),
]


@pytest.fixture
def memory_for(monkeypatch):
    """A memory in which a step of more than so many pictures does not fit, which shows after the first update."""
    loss = GanCls.generator

    def limit(most, refusal=REFUSALS[0]):
        def refuse(self, networks, batch):
            if len(batch.images) > most:
                raise refusal()
            return loss(self, networks, batch)

        monkeypatch.setattr(GanCls, "generator", refuse)

    return limit


@pytest.mark.parametrize("refusal", REFUSALS)
def test_memory_that_runs_out_is_one_line_with_half_of_the_batch_size(tmp_path, memory_for, refusal):
    memory_for(7, refusal)
    told = r"refine\.batch_size: a step of 12 .* does not fit in memory; try 6, or a larger refine\.accumulate"
    with pytest.raises(UserError, match=told):
        train(tmp_path, batch_size=12, section="refine")
    train(tmp_path, epochs=1, batch_size=6)


@pytest.mark.parametrize(
    ("batch_size", "accumulate", "told"),
    [
        (12, 2, "try 6, or a larger"),
        (8, 2, "try 4, or"),
        (12, 4, r"lower model\.features"),  # two a micro-batch are the least
        (12, 6, r"lower model\.features"),
    ],
)
def test_the_half_of_a_batch_is_a_multiple_of_the_micro_batches(tmp_path, memory_for, batch_size, accumulate, told):
    memory_for(1)
    with pytest.raises(
        UserError, match=rf"train\.batch_size: a step of {batch_size} pictures does not fit in .*{told}"
    ):
        train(tmp_path, batch_size=batch_size, accumulate=accumulate)


def test_with_several_devices_the_global_batch_is_named():
    def refuse(*batch):
        raise REFUSALS[0]()

    stand = SimpleNamespace(advance=refuse, accumulate=2, ranks=SimpleNamespace(world=2))
    with pytest.raises(UserError, match=r"a step of 32 pictures .*; try 16, or a larger train\.accumulate"):
        loop._advanced(stand, (torch.empty(16),) * 3, "train")


def test_another_error_of_a_step_is_not_taken_for_memory(tmp_path, memory_for):
    memory_for(1, lambda: RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        train(tmp_path)


def test_the_allocator_of_the_cpu_refuses_in_words_that_are_understood():
    with pytest.raises(RuntimeError) as refused:
        torch.empty(2**62, dtype=torch.uint8)
    assert loop.is_out_of_memory(refused.value)


@pytest.mark.usefixtures("_saves_each_step")
def test_progress_is_one_line_with_epoch_losses_and_the_rate_of_the_steps_made_here(tmp_path, capsys):
    train(tmp_path, epochs=2)
    capsys.readouterr()
    # One epoch more: three steps of four pictures, of a tenth of a second each at least.
    _, log = train(tmp_path, epochs=3, after_step=lambda step: time.sleep(0.1))
    line = capsys.readouterr().err.rstrip().rpartition("\r")[2]
    d, g = log.losses[-1]["discriminator"], log.losses[-1]["generator"]
    told = re.search(rf"36/36 \[\d\d:\d\d<\d\d:\d\d, +([\d.]+) images/s, epoch 3/3 D {d:.3f} G {g:.3f}\]", line)
    assert told is not None and float(told[1]) < 40, line
