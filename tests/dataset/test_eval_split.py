"""Generated pictures are compared with real ones that training never saw, wherever there are such."""

import pytest
import torch

from textbloom.core.errors import UserError
from textbloom.core.tensors import load_tensors, save_tensors
from textbloom.dataset.eval_split import EvalSplit, load_eval_split

ALL = ["train"] * 30 + ["val"] * 6 + ["test"] * 14


def load(files, split: str = "test", train_splits: tuple[str, ...] = ("train", "val"), seed: int = 1) -> EvalSplit:
    return load_eval_split(files.all, split=split, train_splits=train_splits, seed=seed, size=8)


@pytest.mark.parametrize(
    ("split", "train_splits", "compared", "others"),
    [
        ("test", ("train", "val"), range(37, 51), range(1, 37)),
        ("test", ("train",), range(37, 51), range(1, 31)),
        ("val", ("train",), range(31, 37), range(1, 31)),
    ],
)
def test_the_pictures_of_the_split_are_compared_and_those_of_training_are_the_others(
    files, split, train_splits, compared, others
):
    files.write(ALL)
    found = load(files, split, train_splits)
    assert (found.split, found.seen) == (split, False)
    assert found.pictures.image_ids.tolist() == list(compared)
    assert found.others.image_ids.tolist() == list(others)
    assert torch.equal(found.training_images, found.others.images.all())


def test_where_no_picture_was_held_out_the_halves_hold_every_one_once_and_follow_the_seed(files):
    files.write([split.replace("test", "train") for split in ALL])
    found = load(files)
    assert (found.split, found.seen) == ("train", True)
    assert sorted([*found.pictures.image_ids, *found.others.image_ids]) == list(range(1, 51))
    assert len(found.pictures) == len(found.others) == len(found.training_images) // 2 == 25
    for half in (found.pictures, found.others):
        assert half.image_ids.tolist() == sorted(half.image_ids) == half.images.all()[:, 0, 0, 0].tolist()
        assert half.first_captions == [f"flower {i} 0" for i in half.image_ids]
    assert load(files).pictures.image_ids.tolist() == found.pictures.image_ids.tolist()
    assert load(files, seed=2).pictures.image_ids.tolist() != found.pictures.image_ids.tolist()


def test_equal_pictures_are_in_one_half(files):
    files.write(["train"] * 50)
    images = load_tensors(files.images)["images"]
    images[:28] = images[0]
    images[40:42] = images[40]
    save_tensors(files.images, {"images": images})
    for seed in range(8):
        found = load(files, seed=seed)
        halves = [set(half.images.all()[:, 0, 0, 0].tolist()) for half in (found.pictures, found.others)]
        assert halves[0] & halves[1] == set()


def test_a_split_without_pictures_beside_another_held_out_one_is_refused(files):
    files.write(["train"] * 4 + ["test"] * 2)
    with pytest.raises(UserError, match=r"evaluate\.split: .* has no picture of split val, but of test"):
        load(files, "val", ("train",))


def test_larger_pictures_are_reduced_to_the_generators(files):
    files.write(ALL, size=16)
    found = load(files)
    assert found.pictures.images.size == found.others.images.size == 8
