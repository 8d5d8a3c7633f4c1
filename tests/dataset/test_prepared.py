"""Pictures, captions and embeddings stay joined, whatever part of them is asked for."""

import pytest
import torch

from textbloom.core.errors import UserError
from textbloom.core.tensors import load_tensors, save_tensors
from textbloom.dataset import prepared


def numbers(data: prepared.Prepared) -> list[int]:
    return data.images.all()[:, 0, 0, 0].tolist()


@pytest.fixture
def whole(files):
    files.write(["train", "test", "val", "train", "val"], captions_each=2)
    return prepared.load(*files.all, splits=("train", "val"))


def test_the_pictures_of_the_wanted_splits_keep_their_captions_classes_and_embeddings(whole):
    assert whole.image_ids.tolist() == numbers(whole) == [1, 3, 4, 5]
    assert whole.class_ids.tolist() == [1, 3, 4, 5]
    assert whole.captions == [[f"flower {i} 0", f"flower {i} 1"] for i in (1, 3, 4, 5)]
    assert whole.first_captions == ["flower 1 0", "flower 3 0", "flower 4 0", "flower 5 0"]
    torch.testing.assert_close(whole.first_embeddings.flatten(), torch.tensor([1.0, 3.0, 4.0, 5.0]))
    torch.testing.assert_close(whole.embeddings.flatten()[1::2], torch.tensor([1.1, 3.1, 4.1, 5.1]))


def test_a_subset_keeps_each_pictures_captions_and_their_embeddings_in_order(whole):
    part = whole.subset(torch.tensor([0, 2]))
    assert part.captions == [["flower 1 0", "flower 1 1"], ["flower 4 0", "flower 4 1"]]
    assert part.embeddings.flatten().tolist() == pytest.approx([1.0, 1.1, 4.0, 4.1])
    assert part.first_row.tolist() == [0, 2]
    assert part.image_ids.tolist() == numbers(part) == [1, 4]


def test_captions_have_one_number_exactly_where_they_read_the_same(files):
    files.write(["train"] * 3, captions_each=2)
    table = files.captions.read_text().replace("flower 3 1", "flower 1 0").replace("flower 2 0", "flower 1 0")
    files.captions.write_text(table)
    ids = prepared.load(*files.all, splits=("train",)).caption_ids
    assert len(ids) == 6
    assert (ids[:, None] == ids).nonzero()[:, 0].bincount().tolist() == [3, 1, 3, 1, 1, 3]


def test_smaller_pictures_are_area_averages(files):
    files.write(["train"] * 2)
    images = load_tensors(files.images)["images"].clone()
    images[:, :, ::2, ::2] += 40
    save_tensors(files.images, {"images": images})
    half = prepared.load(*files.all, splits=("train",)).at(4)
    assert half.images.all().shape == (2, 3, 4, 4)
    assert numbers(half) == [11, 12], "one pixel in four is 40 brighter"


def test_larger_pictures_stay_beside_their_own_and_are_left_out_at_another_size(files):
    files.write(["train", "test", "train", "train"])
    images = load_tensors(files.images)["images"].clone()
    save_tensors(files.images, {"images": images, "larger": images.repeat_interleave(2, 2).repeat_interleave(2, 3)})
    training = prepared.load(*files.all, splits=("train",))
    assert training.larger.all()[:, 0, 0, 0].tolist() == numbers(training) == [1, 3, 4]
    assert training.subset(torch.tensor([0, 2])).larger.all()[:, 0, 0, 0].tolist() == [1, 4]
    assert training.larger.size == 2 * training.images.size
    assert training.at(training.images.size).larger is None


def test_files_that_do_not_belong_together_are_refused(files):
    files.write(["train"] * 3)
    vectors = load_tensors(files.embeddings)["embeddings"]
    save_tensors(files.embeddings, {"embeddings": vectors[:2]})
    with pytest.raises(UserError, match=r"embeddings\.safetensors has 2 rows, .*captions\.csv 3: run `make repro`"):
        prepared.load(*files.all, splits=("train",))
    save_tensors(files.embeddings, {"embeddings": vectors})
    files.image_ids.write_text("image_id\n1\n2\n4\n")
    with pytest.raises(UserError, match="are not of the same images"):
        prepared.load(*files.all, splits=("train",))


def test_a_split_without_pictures_is_refused(files):
    files.write(["train"] * 3)
    with pytest.raises(UserError, match=r"captions\.csv has no image of split val or test: take more pictures"):
        prepared.load(*files.all, splits=("val", "test"))


def test_every_caption_is_read_as_a_string(files):
    files.write(["train"] * 2)
    files.captions.write_text(files.captions.read_text().replace("flower 2 0", "nan"))
    assert prepared.load(*files.all, splits=("train",)).first_captions == ["flower 1 0", "nan"]
