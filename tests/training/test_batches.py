"""Training batches: every picture at most once an epoch, with its own caption, the same for a seed on any device."""

import threading
from dataclasses import replace

import psutil
import pytest
import torch
from support.tiny_training import CPU, prepared, trainer

from textbloom.core import seeding
from textbloom.core.errors import UserError
from textbloom.core.tensors import load_tensors, save_tensors
from textbloom.dataset.prepared import Pictures
from textbloom.training import augmentation, batches
from textbloom.training.batches import Batches
from textbloom.training.distributed import Ranks


def row_of(vector, data):
    """The row of `data.embeddings` that a batch's text is."""
    return int((data.embeddings - vector).abs().amax(dim=1).argmin())


def test_an_epoch_shows_every_picture_at_most_once_in_an_order_of_its_own():
    data = Batches(prepared(12), 4, seed=1, device=CPU)
    epochs = [torch.cat([text for _, text, _ in data.epoch(n)]) for n in (0, 1)]
    for rows in epochs:
        assert len(rows.unique(dim=0)) == 12
    assert not torch.equal(*epochs)
    assert torch.equal(epochs[0], torch.cat([text for _, text, _ in data.epoch(0)]))
    assert torch.equal(epochs[0][8:], torch.cat([text for _, text, _ in data.epoch(0, first_step=2)]))


def test_an_epoch_gone_on_with_shows_the_pictures_that_were_left_of_it():
    data = Batches(prepared(12, larger=76), 4, seed=1, device=CPU, flips=True)
    whole, rest = list(data.epoch(3)), list(data.epoch(3, first_step=2))
    assert len(rest) == 1 and torch.equal(rest[0][0], whole[2][0])


def test_pictures_and_captions_stay_together_and_each_epoch_chooses_captions_anew():
    data = prepared(12, captions=5)
    pairs, pictures, seen = Batches(data, 12, seed=1, device=CPU), data.images.all().float(), set()
    for epoch in range(30):
        ((images, text, _),) = pairs.epoch(epoch)
        for picture, vector in zip((images + 1) * 127.5, text, strict=True):
            row = row_of(vector, data)
            assert (pictures[row // 5] - picture).abs().max() < 1e-3
            seen.add(row)
    assert len(seen) == 60


def test_flips_mirror_each_picture_in_about_half_of_the_epochs_and_change_nothing_else():
    data = prepared(20)
    plain, flipping = (Batches(data, 4, seed=1, device=CPU, flips=flips) for flips in (False, True))
    mirrored = torch.zeros(20)
    for epoch in range(40):
        for (images, text, _), (seen, same_text, _) in zip(plain.epoch(epoch), flipping.epoch(epoch), strict=True):
            assert torch.equal(text, same_text)
            for image, found, vector in zip(images, seen, text, strict=True):
                mirrored[row_of(vector, data)] += torch.equal(found, image.flip(2))
                assert torch.equal(found, image) or torch.equal(found, image.flip(2))
    # Binomial of 40 draws: outside 6 to 34 once in 10^5 pictures.
    assert (mirrored >= 6).all() and (mirrored <= 34).all()
    assert 340 < mirrored.sum() < 460


def corner_of(image, whole):
    """Where in a picture uint8 [3, L, L] the square `image` lies, [3, S, S] in [-1, 1]."""
    squares = whole.unfold(1, image.shape[1], 1).unfold(2, image.shape[2], 1).float()
    misses = (squares - (image[:, None, None] + 1) * 127.5).abs().amax(dim=(0, 3, 4))
    assert misses.min() < 1e-3
    return divmod(int(misses.argmin()), misses.shape[1])


def test_of_larger_pictures_each_epoch_shows_a_square_at_every_place_alike_and_the_same_captions():
    data = prepared(20, larger=67)
    whole, plain = data.larger.all(), replace(data, larger=None)
    corners = []
    for epoch in range(20):
        pairs = [Batches(each, 20, seed=1, device=CPU).epoch(epoch) for each in (data, plain)]
        for (images, text, wrong), (_, same_text, same_wrong) in zip(*pairs, strict=True):
            assert images.shape == (20, 3, 64, 64) and torch.equal(text, same_text) and torch.equal(wrong, same_wrong)
            corners += [
                corner_of(image, whole[row_of(vector, data)]) for image, vector in zip(images, text, strict=True)
            ]
    found = torch.zeros(4, 4)
    for row, column in corners:
        found[row, column] += 1
    assert found.sum() == 400
    assert found.min() >= 8 and found.max() <= 45, "25 expected at each of 16 places"


def test_squares_of_reduced_pictures_are_squares_of_their_area_averages():
    data = prepared(4, size=128, larger=152)
    ((images, text, _),) = Batches(data, 4, seed=1, device=CPU, size=64).epoch(0)
    halves = data.larger.all().float().unflatten(2, (76, 2)).unflatten(4, (76, 2)).mean(dim=(3, 5))
    corners = {corner_of(image, halves[row_of(vector, data)]) for image, vector in zip(images, text, strict=True)}
    assert len(corners) > 1


@pytest.mark.parametrize(
    ("disturbed", "moved"),
    [
        ("order", {"pictures", "text"}),
        ("caption choice", {"text"}),
        ("flips", {"pictures"}),
        ("crops", {"pictures"}),
        ("noise", set()),
    ],
)
def test_a_purpose_that_draws_more_leaves_the_others_as_they_were(monkeypatch, disturbed, moved):
    data = prepared(captions=3, larger=76)

    def epoch():
        seen = list(Batches(data, 4, 7, CPU, flips=True).epoch(0))
        return {"pictures": torch.cat([p for p, _, _ in seen]), "text": torch.cat([t for _, t, _ in seen])}

    def generator_for(seed, purpose, *rest):
        generator = seeding.generator_for(seed, purpose, *rest)
        if purpose == disturbed:
            torch.rand(3, generator=generator)
        return generator

    before = epoch()
    for module in (augmentation, batches):
        monkeypatch.setattr(module, "generator_for", generator_for)
    after = epoch()
    assert {name for name in before if not torch.equal(before[name], after[name])} == moved


def test_pictures_are_reduced_by_area_averages_to_the_size_of_the_run():
    data = prepared(4)
    ((images, _, _),) = Batches(data, 4, seed=1, device=CPU, size=32).epoch(0)
    assert images.shape == (4, 3, 32, 32)
    blocks = data.images.all().float().unflatten(2, (32, 2)).unflatten(4, (32, 2)).mean(dim=(3, 5))
    nearest = (blocks[None] - (images[:, None] + 1) * 127.5).abs().amax(dim=(2, 3, 4)).amin(dim=1)
    assert nearest.max() < 1e-3


def test_a_batch_of_more_than_all_pictures_names_its_key():
    with pytest.raises(UserError, match=r"train\.batch_size: 64 is more than the 13"):
        Batches(prepared(), 64, seed=1, device=CPU)


@pytest.mark.parametrize(("world", "micro_batches"), [(1, 1), (2, 1), (3, 1), (1, 2), (2, 2), (2, 3)])
def test_ranks_share_out_each_micro_batch_of_one_processes_batch(world, micro_batches):
    data, size = prepared(26, larger=76), 12

    def batches_of(ranks):
        return list(Batches(data, size, 7, CPU, ranks=ranks, micro_batches=micro_batches, flips=True).epoch(0))

    whole = batches_of(Ranks())
    parts = [batches_of(Ranks(rank, world)) for rank in range(world)]
    for step, (images, text, _) in enumerate(whole):
        for what, of_all in enumerate((images, text)):
            pieces = [part[step][what].chunk(micro_batches) for part in parts]
            again = torch.cat([piece[micro] for micro in range(micro_batches) for piece in pieces])
            assert torch.equal(again, of_all)


def shuffled(count=12):
    return torch.randperm(count, generator=torch.Generator().manual_seed(1)).split(4)


def test_pictures_read_ahead_are_those_asked_for_in_order_and_one_batch_ahead():
    pictures, read = prepared(12).images, []

    class Watched(Pictures):
        def __getitem__(self, rows):
            read.append(rows.tolist())
            return super().__getitem__(rows)

    found = []
    for number, batch in enumerate(batches.streamed(Watched(pictures.all()), CPU, shuffled()), start=1):
        found.append(batch)
        assert number <= len(read) <= number + 1
    assert all(torch.equal(got, pictures[rows]) for got, rows in zip(found, shuffled(), strict=True))
    assert list(batches.streamed(pictures, CPU, [])) == []


def test_training_stopped_within_an_epoch_leaves_no_reader_behind():
    ahead = batches.streamed(prepared(12).images, CPU, shuffled())
    next(ahead)
    ahead.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("pictures")]


def test_pictures_move_to_a_device_some_at_a_time_to_the_same_bytes(monkeypatch):
    monkeypatch.setattr(batches, "MOVED", 5)
    pictures = prepared(12).images.subset(torch.tensor([11, 3, 4, 5, 0, 7]))
    assert torch.equal(batches.moved(pictures, CPU), pictures.all())


def test_pictures_on_the_device_are_those_asked_for_in_order():
    pictures = prepared(12).images.all()
    found = list(batches.resident(pictures, shuffled()))
    assert all(torch.equal(got, pictures[rows]) for got, rows in zip(found, shuffled(), strict=True))
    assert list(batches.resident(pictures, [])) == []


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_no_step_waits_for_the_device():
    device = torch.device("cuda")
    pairs, found = Batches(prepared(), 4, 7, device), trainer(device=device)
    try:
        for epoch, mode in enumerate(["default", "error"]):  # the first warms up: libraries choose their routines
            steps = pairs.epoch(epoch)
            found.advance(*next(steps))  # the epoch's rows go to the device
            torch.cuda.set_sync_debug_mode(mode)
            for step in steps:
                found.advance(*step)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_stored_pictures_stay_in_their_file_until_they_are_asked_for(tmp_path):
    numbers = torch.arange(4096).to(torch.uint8)
    save_tensors(tmp_path / "images.safetensors", {"images": numbers[:, None, None, None].expand(-1, 3, 64, 64)})
    before = psutil.Process().memory_info().rss
    stored = Pictures(load_tensors(tmp_path / "images.safetensors")["images"]).subset(torch.arange(1, 4096, 2))
    assert stored[[5, 2000]][:, 0, 0, 0].tolist() == [11, 4001 % 256]
    assert psutil.Process().memory_info().rss - before < stored.bytes / 4


def test_a_wrong_pair_is_the_nearest_one_before_that_differs_in_class_and_caption():
    def pairs(classes, captions):
        return batches.wrong_pairs(torch.tensor(classes), torch.tensor(captions)).tolist()

    assert pairs([0, 1, 2, 3], [0, 1, 2, 3]) == [3, 0, 1, 2]  # without conflicts the one before, as `roll` gives it
    assert pairs([0, 0, 1, 1], [0, 1, 2, 3]) == [3, 3, 1, 1]  # two of a class in a row
    assert pairs([0, 1, 2, 3], [0, 5, 5, 3]) == [3, 0, 0, 2]  # one caption of two classes
    assert pairs([7, 7, 7], [0, 0, 1]) == [2, 2, 1]  # without classes at least the caption differs
    assert pairs([7, 7, 7], [4, 4, 4]) == [2, 0, 1]


@pytest.mark.parametrize(("class_count", "caption_count"), [(2, 3), (3, 20), (20, 3), (1, 4), (4, 1), (1, 1)])
def test_no_wrong_pair_is_of_the_same_class_or_caption_where_the_batch_has_another(class_count, caption_count):
    for count in (2, 3, 8, 17):
        classes, captions = torch.randint(class_count, (count,)), torch.randint(caption_count, (count,))
        wrong = batches.wrong_pairs(classes, captions)
        own = torch.arange(count)
        assert (wrong != own).all() and wrong.min() >= 0 and wrong.max() < count
        other_class = classes[:, None] != classes
        other_caption = captions[:, None] != captions
        both = other_class & other_caption
        for place, pair in zip(own, wrong, strict=True):
            if both[place].any():
                assert both[place, pair]
            elif other_caption[place].any():
                assert other_caption[place, pair]
            else:
                assert other_class[place, pair] or not other_class[place].any()


@pytest.mark.parametrize(("world", "micro_batches"), [(1, 1), (3, 1), (1, 2), (2, 3)])
def test_wrong_pairs_are_within_the_micro_batch_that_all_ranks_share(world, micro_batches):
    data, size = prepared(24), 12
    data = replace(data, class_ids=data.image_ids % 2)  # half of all pairs would be of one class
    classes = {row_of(vector, data): int(data.class_ids[row_of(vector, data)]) for vector in data.embeddings}

    def epochs(ranks):
        return list(Batches(data, size, 7, CPU, ranks=ranks, micro_batches=micro_batches).epoch(0))

    whole = epochs(Ranks())
    for rank in range(world):
        ranks = Ranks(rank, world)
        for (_, all_text, _), (_, text, wrong) in zip(whole, epochs(ranks), strict=True):
            shared = all_text.chunk(micro_batches)
            for micro, (own, places) in enumerate(
                zip(text.chunk(micro_batches), wrong.chunk(micro_batches), strict=True)
            ):
                there = [classes[row_of(vector, data)] for vector in shared[micro]]
                for vector, place in zip(own, places.tolist(), strict=True):
                    assert there[place] != classes[row_of(vector, data)] or len(set(there)) == 1
