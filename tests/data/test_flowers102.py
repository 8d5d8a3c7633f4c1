from functools import partial
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat
from support import tiny_flowers as tiny

from textbloom.core.errors import UserError
from textbloom.data import captions, flowers102, splits
from textbloom.data.base import SPLITS, Entry, Record

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
    return splits.divide(flowers102.entries(folder), split, 1, partial(flowers102.published_split, folder))


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


def test_an_image_without_captions_is_named(tmp_path):
    message = refused(tiny.write(tmp_path, texts_=changed(tiny.texts(), _4=None)))
    assert "image 4" in message and "no caption" in message


def test_a_caption_without_an_image_is_named(tmp_path):
    name = tiny.caption_name(7, class_id=2)
    message = refused(tiny.write(tmp_path, texts_=tiny.texts() | {name: b"a seventh flower\n"}))
    assert name in message and "no image 7" in message


def test_a_caption_file_under_another_class_than_its_label_is_named(tmp_path):
    texts = tiny.texts()
    texts[tiny.caption_name(3, class_id=2)] = texts.pop(tiny.caption_name(3))
    message = refused(tiny.write(tmp_path, texts_=texts))
    assert tiny.caption_name(3, class_id=2) in message and "class 2" in message and "says 1" in message


def test_a_second_caption_file_of_an_image_is_named(tmp_path):
    name = "./" + tiny.caption_name(3)
    message = refused(tiny.write(tmp_path, texts_=tiny.texts() | {name: b"again\n"}))
    assert name in message and "image 3" in message


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


def test_a_class_in_two_lists_is_named_with_file_and_line(tmp_path):
    texts = tiny.texts() | {"cvpr2016_flowers/valclasses.txt": b"class_00002\nclass_00001\n"}
    message = refused(tiny.write(tmp_path, texts_=texts))
    assert "line 2: class 1 is in trainclasses.txt too" in message or "class 1 is in valclasses.txt too" in message


def test_a_byte_order_mark_in_a_class_list_is_no_part_of_the_class(tmp_path):
    texts = tiny.texts() | {"cvpr2016_flowers/valclasses.txt": b"\xef\xbb\xbfclass_00002\r\n"}
    assert records(tiny.write(tmp_path, texts_=texts), "class-disjoint")[5].split == "val"


def test_a_line_of_a_class_list_that_names_no_class_is_named(tmp_path):
    texts = tiny.texts() | {"cvpr2016_flowers/valclasses.txt": b"class_00002\ndaffodil\n"}
    assert "valclasses.txt: line 2" in refused(tiny.write(tmp_path, texts_=texts))


@pytest.mark.parametrize(
    ("sets", "named"),
    [
        ({**tiny.SETS, "valid": [2, 4]}, "image 4 is listed twice"),
        ({**tiny.SETS, "valid": [9]}, "first 2"),
        ({**tiny.SETS, "valid": [2, 9]}, "first 9"),
        ({"trnid": [1, 4], "valid": [2]}, "no readable 'tstid'"),
    ],
)
def test_a_setid_that_does_not_divide_the_images_is_refused(tmp_path, sets, named):
    message = refused(tiny.write(tmp_path, sets=sets), "oxford")
    assert "setid.mat" in message and named in message


@pytest.mark.parametrize("name", [flowers102.LABELS, flowers102.SETS, flowers102.PHOTOS, flowers102.CAPTIONS])
def test_verification_notices_each_file_cut_short_or_missing(tmp_path, name):
    folder = tiny.write(tmp_path)
    flowers102.verify(folder)
    whole = (folder / name).read_bytes()
    (folder / name).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=name):
        flowers102.verify(folder)
    (folder / name).unlink()
    with pytest.raises(UserError, match=f"{name} is missing"):
        flowers102.verify(folder)


def test_verification_notices_another_archive_under_the_name(tmp_path):
    folder = tiny.write(tmp_path, photos_={"cats/1.jpg": tiny.jpeg(1)})
    with pytest.raises(UserError, match="another archive"):
        flowers102.verify(folder)


@pytest.mark.parametrize("lead", ["cvpr2016_flowers/", "", "./cvpr2016_flowers/"])
def test_the_zip_alone_gives_photos_and_captions_without_classes(tmp_path, lead):
    folder = tiny.write_second(tmp_path, tiny.photos_and_texts(lead))
    flowers102.verify(folder)
    found = flowers102.entries(folder)
    assert [(entry.image_id, entry.class_id) for entry in found] == [(id_, 0) for id_ in range(1, 7)]
    assert found[4].captions == ("flower 5 is red", "it has 5 petals")
    assert {photo.image_id: photo.data for photo in flowers102.photos(folder)} == {
        id_: tiny.jpeg(id_) for id_ in range(1, 7)
    }
    assert {record.split for record in records(folder, "random")} == {"train", "test"}


def test_the_zip_with_oxfords_labels_and_sets_gives_what_the_first_source_gives(tmp_path):
    first, second = tiny.write(tmp_path / "first"), tiny.write_second(tmp_path / "second", extras=True)
    flowers102.verify(second)
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
    assert f"{split} needs {needed}" in message and "data.split to random" in message and "data.mirror" in message


@pytest.mark.parametrize("gone", ["images/image_00002.jpg", "captions/image_00002.txt"])
@pytest.mark.parametrize("extras", [True, False], ids=["labelled", "unlabelled"])
def test_a_zip_without_a_photo_or_a_caption_is_refused_on_verification(tmp_path, gone, extras):
    members = tiny.photos_and_texts()
    del members[f"cvpr2016_flowers/{gone}"]
    with pytest.raises(UserError, match=r"cvpr2016_flowers\.zip: image 2 "):
        flowers102.verify(tiny.write_second(tmp_path, members, extras))


def test_labels_of_another_data_set_do_not_pass_beside_the_zip(tmp_path):
    folder = tiny.write_second(tmp_path, extras=True)
    savemat(folder / flowers102.LABELS, {"labels": np.array([[1, 2, 3]])})
    with pytest.raises(UserError, match=r"imagelabels\.mat has no image 4"):
        flowers102.verify(folder)


def test_another_zip_under_the_name_is_refused(tmp_path):
    with pytest.raises(UserError, match="another archive"):
        flowers102.verify(tiny.write_second(tmp_path, {"cats/1.jpg": tiny.jpeg(1)}))


@pytest.mark.parametrize(
    "labels", [(3, 3, 1, 1, 2), (3, 3, 1, 1, 2, 2, 2), (3, 3, 1, 2, 2, 2)], ids=["short", "long", "other class"]
)
def test_verification_holds_the_labels_against_the_captions(tmp_path, labels):
    folder = tiny.write(tmp_path)
    savemat(folder / flowers102.LABELS, {"labels": np.array([labels])})
    with pytest.raises(UserError, match=r"imagelabels\.mat"):
        flowers102.verify(folder)


def test_verification_holds_the_photos_against_the_captions(tmp_path):
    photos = tiny.photos()
    del photos[tiny.photo_name(3)]
    with pytest.raises(UserError, match=r"102flowers\.tgz: image 3 has not exactly one photo"):
        flowers102.verify(tiny.write(tmp_path, photos_=photos))


def test_verification_holds_the_sets_against_the_labels(tmp_path):
    folder = tiny.write(tmp_path, sets={**tiny.SETS, "valid": [4]})
    with pytest.raises(UserError, match=r"setid\.mat: image 4 is listed twice"):
        flowers102.verify(folder)


def test_labels_that_are_not_whole_numbers_are_refused(tmp_path):
    folder = tiny.write(tmp_path)
    savemat(folder / flowers102.LABELS, {"labels": np.array([[3, 3, 1, 1.5, 2, 2]])})
    with pytest.raises(UserError, match=r"imagelabels\.mat: no readable 'labels'"):
        flowers102.verify(folder)


@pytest.fixture(scope="module")
def real() -> list[Entry]:
    """The entries of the small copy of the real data set, which has all images, scaled down."""
    if not SHARED.is_dir():
        pytest.skip("the small copy of Oxford-102 is not at hand")
    return flowers102.entries(SHARED)


def test_the_real_class_lists_give_the_published_sizes(real):
    split_of = flowers102.published_split(SHARED, "class-disjoint", real)
    classes = {split: {each.class_id for each in real if split_of[each.image_id] == split} for split in SPLITS}
    assert {split: len(of_split) for split, of_split in classes.items()} == {"train": 62, "val": 20, "test": 20}
    assert len(real) == 8189
    assert list(split_of.values()).count("test") == 8189 - 7034
    assert flowers102.read_class_lists(SHARED / flowers102.CAPTIONS) == flowers102.REED


def test_the_real_setid_gives_oxfords_sizes(real):
    found = list(flowers102.published_split(SHARED, "oxford", real).values())
    assert {split: found.count(split) for split in SPLITS} == {"train": 1020, "val": 1020, "test": 6149}


def test_of_the_four_real_pairs_of_one_photo_those_across_oxfords_split_lose_their_training_side(real):
    photos = list(flowers102.photos(SHARED))
    for how, leaking in (("class-disjoint", []), ("oxford", [7307, 8077])):
        found = splits.divide(real, how, 1, partial(flowers102.published_split, SHARED))
        kept, dropped = captions.without_leaks(found, photos)
        assert [each.image_id for each in dropped] == leaking
        assert len(kept) == 8189 - len(leaking)
