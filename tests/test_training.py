"""The loop: the same bytes for the same seed, through kills, and one line when it goes wrong."""

import threading

import psutil
import pytest
import torch
from test_objectives import CPU, networks, recipe

from textbloom import models
from textbloom.core.errors import UserError
from textbloom.core.tensors import load_tensors, save_tensors
from textbloom.dataset.prepared import Pictures, Prepared
from textbloom.training import feed, loop, state
from textbloom.training.data import TrainingPairs
from textbloom.training.ema import Ema
from textbloom.training.ranks import ALONE
from textbloom.training.trainer import Trainer


def prepared(count: int = 13, captions: int = 1) -> Prepared:
    stream = torch.Generator().manual_seed(5)
    numbers = torch.arange(1, count + 1).numpy()
    return Prepared(
        images=Pictures(torch.randint(0, 256, (count, 3, 64, 64), dtype=torch.uint8, generator=stream)),
        image_ids=numbers,
        class_ids=numbers,
        captions=[[f"flower {n} {k}" for k in range(captions)] for n in numbers],
        embeddings=torch.randn(count * captions, 12, generator=stream),
        first_row=torch.arange(count) * captions,
    )


def train(folder, epochs=3, autocast=None, after_step=lambda step: None, ranks=ALONE, **changes):
    trainer = Trainer(*networks(), recipe(autocast=autocast, **changes), CPU, ranks)
    pairs = TrainingPairs(prepared(), 4, seed=7, device=CPU, ranks=ranks)
    fixed = loop.Fixed(torch.ones(2, 5), torch.ones(2, 12))
    return trainer, loop.train(trainer, pairs, fixed, epochs=epochs, grid_every=2, folder=folder, after_step=after_step)


def same(ours: Trainer, theirs: Trainer) -> bool:
    pairs = zip(
        [ours.generator, ours.discriminator, ours.ema.network],
        [theirs.generator, theirs.discriminator, theirs.ema.network],
        strict=True,
    )
    return all(
        torch.equal(a, b)
        for x, y in pairs
        for a, b in zip(x.state_dict().values(), y.state_dict().values(), strict=True)
    )


@pytest.mark.parametrize("autocast", [None, torch.bfloat16])
def test_two_runs_of_a_seed_end_with_the_same_bytes(tmp_path, autocast):
    first, log = train(tmp_path / "a", autocast=autocast)
    second, again = train(tmp_path / "b", autocast=autocast)
    other, _ = train(tmp_path / "c", autocast=autocast, seed=4)
    assert same(first, second) and log.losses == again.losses and torch.equal(log.sheets, again.sheets)
    assert not same(first, other)
    assert (len(log.losses), log.sheet_epochs, tuple(log.sheets.shape)) == (3, [2, 3], (2, 2, 3, 64, 64))


class Killed(Exception):
    pass


@pytest.mark.parametrize("at", [1, 3, 4, 7])
def test_a_killed_run_goes_on_to_the_bytes_of_one_that_was_not(tmp_path, monkeypatch, at):
    monkeypatch.setattr(loop, "SAVE_SECONDS", -1.0)
    monkeypatch.setattr(loop, "LOOK_STEPS", 1)
    whole, log = train(tmp_path / "whole")

    def kill(step):
        if step == at:
            raise Killed

    with pytest.raises(Killed):
        train(tmp_path / "cut", after_step=kill)
    steps = []
    resumed, again = train(tmp_path / "cut", after_step=steps.append)
    assert same(whole, resumed) and log.losses == again.losses and torch.equal(log.sheets, again.sheets)
    assert len(steps) == again.steps_here < 9 or at < 2


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_last_good_state(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "SAVE_SECONDS", -1.0)
    monkeypatch.setattr(loop, "LOOK_STEPS", 1)
    trainer = Trainer(*networks(), recipe(), CPU)
    pairs = TrainingPairs(prepared(), 4, seed=7, device=CPU)

    def spoil(step):
        if step == 4:
            with torch.no_grad():
                next(trainer.generator.parameters()).fill_(float("nan"))

    fixed = loop.Fixed(torch.ones(2, 5), torch.ones(2, 12))
    with pytest.raises(UserError, match=r"loss \w+ is nan by step 5: lower train\.lr"):
        loop.train(trainer, pairs, fixed, epochs=3, grid_every=9, folder=tmp_path, after_step=spoil)
    fresh = Trainer(*networks(), recipe(), CPU)
    assert state.restore(state.file(tmp_path), fresh) is not None
    assert fresh.step == 4
    assert all(torch.isfinite(weights).all() for weights in fresh.generator.parameters())


def test_an_epoch_shows_every_picture_at_most_once_in_an_order_of_its_own():
    pairs = TrainingPairs(prepared(12), 4, seed=1, device=CPU)
    epochs = [torch.cat([text for _, text in pairs.epoch(n)]) for n in (0, 1)]
    for rows in epochs:
        assert len(rows.unique(dim=0)) == 12
    assert not torch.equal(*epochs)
    assert torch.equal(epochs[0], torch.cat([text for _, text in pairs.epoch(0)]))
    assert torch.equal(epochs[0][8:], torch.cat([text for _, text in pairs.epoch(0, first_step=2)]))


def test_pictures_and_captions_stay_together_and_each_epoch_chooses_captions_anew():
    data = prepared(12, captions=5)
    pairs = TrainingPairs(data, 12, seed=1, device=CPU)
    seen = set()
    for epoch in range(30):
        ((images, text),) = pairs.epoch(epoch)
        for picture, vector in zip((images + 1) * 127.5, text, strict=True):
            image = int((data.images.all().float() - picture).abs().amax(dim=(1, 2, 3)).argmin())
            row = int((data.embeddings - vector).abs().amax(dim=1).argmin())
            assert row // 5 == image
            seen.add((image, row % 5))
    assert len(seen) == 60


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("autocast", [None, torch.bfloat16])
@pytest.mark.parametrize("system", ["dcgan", "gan-cls", "stackgan"])
def test_gradients_and_moments_lie_in_memory_as_their_weights_do(system, autocast, accumulate):
    """A fused optimizer walks through all of them in the order of memory: another layout is another weight's update."""
    shapes = {"size": 64, "embedding_dim": 12, "noise_dim": 5, "features": 4, "text_projection": 6}
    built = models.build(system, **shapes, discriminator_text=True)
    found = Trainer(*built, recipe(autocast=autocast, accumulate=accumulate), CPU)
    found.advance(*next(TrainingPairs(prepared(), 8, 7, CPU).epoch(0)))
    for optimizer in (found.optimizer_g, found.optimizer_d):
        for weight, slots in optimizer.state.items():
            assert weight.grad.stride() == weight.stride()
            assert slots["exp_avg"].stride() == slots["exp_avg_sq"].stride() == weight.stride()


def test_flips_mirror_each_picture_in_about_half_of_the_epochs_and_change_nothing_else():
    data = prepared(20)
    plain, flipping = (TrainingPairs(data, 4, seed=1, device=CPU, flips=flips) for flips in (False, True))
    mirrored = torch.zeros(20)
    for epoch in range(40):
        for (images, text), (seen, same_text) in zip(plain.epoch(epoch), flipping.epoch(epoch), strict=True):
            assert torch.equal(text, same_text)
            for image, found, vector in zip(images, seen, text, strict=True):
                row = int((data.embeddings - vector).abs().amax(dim=1).argmin())
                mirrored[row] += torch.equal(found, image.flip(2))
                assert torch.equal(found, image) or torch.equal(found, image.flip(2))
    # binomial, 40 coins each: outside 6 to 34 once in 10^5 pictures
    assert (mirrored >= 6).all() and (mirrored <= 34).all()
    assert 340 < mirrored.sum() < 460


def test_pictures_are_reduced_by_area_averages_to_the_size_of_the_run():
    data = prepared(4)
    ((images, _),) = TrainingPairs(data, 4, seed=1, device=CPU, size=32).epoch(0)
    assert images.shape == (4, 3, 32, 32)
    blocks = data.images.all().float().unflatten(2, (32, 2)).unflatten(4, (32, 2)).mean(dim=(3, 5))
    nearest = (blocks[None] - (images[:, None] + 1) * 127.5).abs().amax(dim=(2, 3, 4)).amin(dim=1)
    assert nearest.max() < 1e-3
    with pytest.raises(UserError, match=r"train\.size: 48 is no whole fraction of the pictures' 64"):
        TrainingPairs(data, 4, seed=1, device=CPU, size=48)


def test_prepared_pictures_are_reduced_by_area_averages_and_nothing_else_changes():
    data = prepared(5)
    small = data.at(16)
    blocks = data.images.all().float().unflatten(2, (16, 4)).unflatten(4, (16, 4)).mean(dim=(3, 5))
    assert small.images.all().dtype == torch.uint8
    assert (small.images.all() - blocks).abs().max() <= 0.5
    assert small.captions == data.captions and small.embeddings is data.embeddings
    assert data.at(64) is data


def test_pictures_read_ahead_are_those_asked_for_in_order_and_one_batch_ahead():
    pictures, read = prepared(12).images, []

    class Watched(Pictures):
        def __getitem__(self, rows):
            read.append(rows.tolist())
            return super().__getitem__(rows)

    batches = torch.randperm(12, generator=torch.Generator().manual_seed(1)).split(4)
    found = []
    for number, batch in enumerate(feed.streamed(Watched(pictures.all()), CPU, batches), start=1):
        found.append(batch)
        assert number <= len(read) <= number + 1
    assert all(torch.equal(got, pictures[rows]) for got, rows in zip(found, batches, strict=True))
    assert list(feed.streamed(pictures, CPU, [])) == []


def test_pictures_move_to_a_device_some_at_a_time_to_the_same_bytes(monkeypatch):
    monkeypatch.setattr(feed, "MOVED", 5)
    pictures = prepared(12).images.subset(torch.tensor([11, 3, 4, 5, 0, 7]))
    assert torch.equal(feed.moved(pictures, CPU), pictures.all())


def test_pictures_on_the_device_are_those_asked_for_in_order():
    pictures = prepared(12).images.all()
    batches = torch.randperm(12, generator=torch.Generator().manual_seed(1)).split(4)
    found = list(feed.resident(pictures, batches))
    assert len(found) == 3
    assert all(torch.equal(got, pictures[rows]) for got, rows in zip(found, batches, strict=True))
    assert list(feed.resident(pictures, [])) == []


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_no_step_waits_for_the_device():
    device = torch.device("cuda")
    pairs, found = TrainingPairs(prepared(), 4, 7, device), Trainer(*networks(), recipe(), device)
    try:
        for epoch, mode in enumerate(["default", "error"]):  # the first warms up: libraries choose their routines
            batches = pairs.epoch(epoch)
            found.advance(*next(batches))  # the epoch's rows go to the device
            torch.cuda.set_sync_debug_mode(mode)
            for batch in batches:
                found.advance(*batch)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_training_stopped_within_an_epoch_leaves_no_reader_behind():
    ahead = feed.streamed(prepared(12).images, CPU, torch.arange(12).split(4))
    next(ahead)
    ahead.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("pictures")]


def test_stored_pictures_stay_in_their_file_until_they_are_asked_for(tmp_path):
    numbers = torch.arange(4096).to(torch.uint8)
    save_tensors(tmp_path / "images.safetensors", {"images": numbers[:, None, None, None].expand(-1, 3, 64, 64)})
    before = psutil.Process().memory_info().rss
    stored = Pictures(load_tensors(tmp_path / "images.safetensors")["images"]).subset(torch.arange(1, 4096, 2))
    assert stored[[5, 2000]][:, 0, 0, 0].tolist() == [11, 4001 % 256]
    assert psutil.Process().memory_info().rss - before < stored.bytes / 4


def test_a_batch_larger_than_the_data_names_the_key():
    with pytest.raises(UserError, match=r"train\.batch_size: 64 is more than the 13"):
        TrainingPairs(prepared(), 64, seed=1, device=CPU)


def test_the_average_is_the_recursion_it_claims():
    source = torch.nn.BatchNorm1d(2)
    ema = Ema(source, decay=0.5)
    expected = source.weight.detach().clone()
    for step in range(6):
        with torch.no_grad():
            source.weight += 1.0
            source.num_batches_tracked += 1
        ema.update(step)
        keep = min(0.5, (1 + step) / (10 + step))
        expected = keep * expected + (1 - keep) * source.weight.detach()
    assert torch.allclose(ema.network.weight, expected)
    assert ema.network.num_batches_tracked == 6
