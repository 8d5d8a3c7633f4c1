from functools import partial
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat
from support import tiny_flowers as tiny

from textbloom.core.errors import UserError
from textbloom.core.tables import SPLITS
from textbloom.data import captions, flowers102, splits
from textbloom.data.base import Entry, Record

SHARED = Path(__file__).parents[3] / "shared" / "flowers102"


def changed(members: dict[str, bytes], **changes: bytes | None) -> dict[str, bytes]:
    """`members` with the caption file of the image numbered in `_<id>` replaced, or removed where None."""
    for key, content in changes.items():
        name = tiny.caption_name(int(key.removeprefix("_")))
        if content is None:
            del members[name]
        else:
            members[name] = content
    return members


def records(folder: Path, split: str) -> list[Record]:
    return splits.divide(flowers102, folder, split, 1)


def refused(folder: Path, split: str = "class-disjoint") -> str:
    with pytest.raises(UserError) as caught:
        records(folder, split)
    return str(caught.value)


def test_records_join_labels_captions_and_class_lists(tmp_path):
    found = records(tiny.write(tmp_path), "class-disjoint")
    assert [record.image_id for record in found] == [1, 2, 3, 4, 5, 6]
    assert tuple(record.class_id for record in found) == tiny.LABELS
    assert [record.split for record in found] == ["test", "test", "train", "train", "val", "val"]
    assert found[4].captions == ("flower 5 is red", "it has 5 petals")


def test_the_oxford_split_follows_setid_and_needs_no_class_lists(tmp_path):
    texts = {name: content for name, content in tiny.texts().items() if "classes.txt" not in name}
    found = records(tiny.write(tmp_path, texts_=texts), "oxford")
    assert [record.split for record in found] == ["train", "val", "test", "train", "test", "test"]


def test_photos_come_with_id_and_bytes(tmp_path):
    found = {photo.member: (photo.image_id, photo.data) for photo in flowers102.photos(tiny.write(tmp_path))}
    assert found == {tiny.photo_name(id_): (id_, tiny.jpeg(id_)) for id_ in range(1, 7)}


def test_other_members_of_the_archives_are_passed_over(tmp_path):
    more = {"jpg/._image_00001.jpg": b"x", "jpg/readme.txt": b"x"}
    words = {"cvpr2016_flowers/text_c10/class_00003.t7": b"x", "cvpr2016_flowers/trainvalclasses.txt": b"class_00001\n"}
    folder = tiny.write(tmp_path, photos_=more | tiny.photos(), texts_=words | tiny.texts())
    assert len(list(flowers102.photos(folder))) == len(records(folder, "class-disjoint")) == 6


@pytest.mark.parametrize("labels", [(3, 3, 1, 1, 2), (3, 3, 1, 1, 2, 2, 2)], ids=["too few", "too many"])
@pytest.mark.parametrize("write", [tiny.write, partial(tiny.write_second, extras=True)], ids=["first", "second"])
def test_an_image_with_captions_and_no_label_or_a_label_and_no_captions_is_named(tmp_path, write, labels):
    folder = write(tmp_path)
    savemat(folder / flowers102.LABELS, {"labels": np.array([labels])})
    assert f"imagelabels.mat: image {max(6, len(labels))} is only in one of them" in refused(folder)


def test_bytes_that_are_not_utf8_are_named_with_file_and_line(tmp_path):
    texts = changed(tiny.texts(), _2="fine\nna\u00efve\n".encode("latin-1"))
    message = refused(tiny.write(tmp_path, texts_=texts))
    assert tiny.caption_name(2) in message and "line 2" in message and "0xef" in message


@pytest.mark.parametrize("content", [b"", b"\n \n\t\n", "\u200b\n".encode()], ids=["empty", "blank", "invisible"])
def test_a_caption_file_without_words_is_named(tmp_path, content):
    message = refused(tiny.write(tmp_path, texts_=changed(tiny.texts(), _2=content)))
    assert tiny.caption_name(2) in message and "no caption" in message


def test_a_class_in_no_list_is_named(tmp_path):
    texts = tiny.texts() | {"cvpr2016_flowers/valclasses.txt": b"\n"}
    assert "class 2 is in none of" in refused(tiny.write(tmp_path, texts_=texts))


@pytest.mark.parametrize(
    ("sets", "named"),
    [
        ({**tiny.SETS, "valid": []}, "image 2 is only in one of them"),
        ({**tiny.SETS, "valid": [2, 9]}, "image 9 is only in one of them"),
        ({"trnid": [1, 4], "valid": [2]}, "no readable 'tstid'"),
    ],
)
def test_a_setid_that_does_not_divide_the_images_is_refused(tmp_path, sets, named):
    message = refused(tiny.write(tmp_path, sets=sets), "oxford")
    assert "setid.mat" in message and named in message


@pytest.mark.parametrize("lead", ["cvpr2016_flowers/", "", "./cvpr2016_flowers/"])
def test_the_zip_alone_gives_photos_and_captions_without_classes(tmp_path, lead):
    folder = tiny.write_second(tmp_path, tiny.photos_and_texts(lead))
    found = flowers102.entries(folder)
    assert [(entry.image_id, entry.class_id) for entry in found] == [(id_, 0) for id_ in range(1, 7)]
    assert found[4].captions == ("flower 5 is red", "it has 5 petals")
    assert {photo.image_id: photo.data for photo in flowers102.photos(folder)} == {
        id_: tiny.jpeg(id_) for id_ in range(1, 7)
    }
    assert {record.split for record in records(folder, "random")} == {"train", "test"}


def test_the_zip_with_oxfords_labels_and_sets_gives_what_the_first_source_gives(tmp_path):
    first, second = tiny.write(tmp_path / "first"), tiny.write_second(tmp_path / "second", extras=True)
    assert flowers102.entries(first) == flowers102.entries(second)
    assert records(first, "oxford") == records(second, "oxford")


def test_with_the_zip_the_classes_are_divided_by_reeds_lists(tmp_path):
    folder = tiny.write_second(tmp_path, extras=True)
    savemat(folder / flowers102.LABELS, {"labels": np.array([[20, 21, 40, 41, 1, 102]])})
    assert [record.split for record in records(folder, "class-disjoint")] == [
        "test",
        "val",
        "val",
        "train",
        "test",
        "train",
    ]


@pytest.mark.parametrize(("split", "needed"), [("class-disjoint", "imagelabels.mat"), ("oxford", "setid.mat")])
def test_a_split_that_the_zip_alone_cannot_give_is_refused_with_both_ways_out(tmp_path, split, needed):
    message = refused(tiny.write_second(tmp_path), split)
    assert f"needs {needed}" in message and "data.split to random" in message and "data.mirror" in message


@pytest.fixture(scope="module")
def real() -> list[Entry]:
    """The entries of the small copy of the real data set, which has all images, scaled down."""
    if not SHARED.is_dir():
        pytest.skip("the small copy of Oxford-102 is not at hand")
    return flowers102.entries(SHARED)


def test_the_real_class_lists_give_the_published_sizes(real):
    split_of = flowers102.PUBLISHED_SPLITS["class-disjoint"](SHARED, real)
    classes = {split: {each.class_id for each in real if split_of[each.image_id] == split} for split in SPLITS}
    assert {split: len(of_split) for split, of_split in classes.items()} == {"train": 62, "val": 20, "test": 20}
    assert len(real) == 8189
    assert list(split_of.values()).count("test") == 8189 - 7034
    assert splits.read_class_lists(SHARED / flowers102.CAPTIONS) == flowers102.REED


def test_the_real_setid_gives_oxfords_sizes(real):
    found = list(flowers102.PUBLISHED_SPLITS["oxford"](SHARED, real).values())
    assert {split: found.count(split) for split in SPLITS} == {"train": 1020, "val": 1020, "test": 6149}


def test_of_the_four_real_pairs_of_one_photo_those_across_oxfords_split_lose_their_training_side(real):
    photos = list(flowers102.photos(SHARED))
    for how, leaking in (("class-disjoint", []), ("oxford", [7307, 8077])):
        found = splits.divide(flowers102, SHARED, how, 1)
        kept, dropped = captions.without_leaks(found, photos)
        assert [each.image_id for each in dropped] == leaking
        assert len(kept) == 8189 - len(leaking)
