import io
import tarfile
from pathlib import Path

import pytest
from PIL import Image
from support import tiny_birds as tiny

from textbloom.core.errors import UserError
from textbloom.data import cub200, splits
from textbloom.data.base import Record

SHARED = Path(__file__).parents[3] / "shared" / "cub200"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="the small copy of CUB-200-2011 is not at hand")


def records(folder: Path) -> list[Record]:
    return splits.divide(cub200, folder, "class-disjoint", 1)


def refused(folder: Path) -> str:
    with pytest.raises(UserError) as caught:
        records(folder)
    return str(caught.value)


def with_line(table: str, number: int, line: str) -> dict[str, bytes]:
    """The sound archive, one line of one of its tables replaced (counted from 1)."""
    tables = tiny.tables()
    lines = tables[f"CUB_200_2011/{table}"].decode().splitlines()
    lines[number - 1] = line
    tables[f"CUB_200_2011/{table}"] = "\n".join(lines).encode()
    return tables | tiny.photos()


def without(members: dict[str, bytes], *names: str) -> dict[str, bytes]:
    return {name: content for name, content in members.items() if name not in names}


def test_entries_join_tables_and_captions_by_path(tmp_path):
    found = records(tiny.write(tmp_path))
    assert [record.image_id for record in found] == [2, 3, 5, 7, 8, 9]
    assert [record.class_id for record in found] == [1, 1, 4, 2, 4, 2]
    assert found[3].captions == ("bird 7 is red", "it has 7 feathers")


def test_train_and_val_lists_are_used_where_both_are_there(tmp_path):
    assert [record.split for record in records(tiny.write(tmp_path))] == [
        "test",
        "test",
        "val",
        "train",
        "val",
        "train",
    ]


def test_captions_are_found_without_the_archives_own_folder(tmp_path):
    bare = {name.removeprefix("cvpr2016_cub/"): content for name, content in tiny.texts().items()}
    assert records(tiny.write(tmp_path / "bare", texts_=bare)) == records(tiny.write(tmp_path / "published"))


@pytest.mark.parametrize("first", ["tables", "photos"])
def test_photos_come_with_id_bytes_and_box_wherever_the_tables_lie(tmp_path, first):
    birds = tiny.tables() | tiny.photos() if first == "tables" else tiny.photos() | tiny.tables()
    found = {photo.member: photo for photo in cub200.photos(tiny.write(tmp_path, birds))}
    assert len(found) == len(tiny.BIRDS)
    for image_id in tiny.BIRDS:
        photo = found[tiny.photo_name(image_id)]
        assert (photo.image_id, photo.data) == (image_id, tiny.jpeg(image_id))
        assert photo.box == tiny.BOXES[image_id]


def test_the_other_members_of_the_published_archives_are_passed_over(tmp_path):
    folder = "001.Black_footed_Albatross"
    birds = {
        "attributes.txt": b"1 has_bill_shape::curved\n",
        f"CUB_200_2011/images/{folder}/._Black_Footed_Albatross_0001_11.jpg": b"x",
        "CUB_200_2011/README": b"x",
        "CUB_200_2011/classes.txt": f"1 {folder}\n".encode(),
        "CUB_200_2011/train_test_split.txt": b"2 0\n",
        "CUB_200_2011/parts/part_locs.txt": b"x",
    }
    texts = {
        "cvpr2016_cub/allclasses.txt": b"x\n",
        f"cvpr2016_cub/text_c10/{folder}.t7": b"x",
        f"cvpr2016_cub/text_c10/{folder}/._Black_Footed_Albatross_0001_11.txt": b"\xff",
        f"cvpr2016_cub/word_c10/{folder}.t7": b"x",
    }
    folder = tiny.write(tmp_path, birds | tiny.tables() | tiny.photos(), texts | tiny.texts())
    assert len(records(folder)) == len(list(cub200.photos(folder))) == 6


def test_marks_of_lost_bytes_between_words_become_spaces(tmp_path):
    text = "this\ufffd\ufffdbird\ufffd\ufffdis red,\ufffd\ufffdand small.\n"
    folder = tiny.write(tmp_path, texts_=tiny.texts() | {tiny.caption_name(5): text.encode()})
    assert records(folder)[2].captions == ("this bird is red, and small.",)


def test_an_image_without_captions_and_captions_without_an_image_are_named(tmp_path):
    message = refused(tiny.write(tmp_path / "a", texts_=without(tiny.texts(), tiny.caption_name(7))))
    assert f"image {tiny.BIRDS[7]} is only in one of them" in message
    stray = "002.Laysan_Albatross/Laysan_Albatross_0003_99"
    message = refused(tiny.write(tmp_path / "b", texts_=tiny.texts() | {f"text_c10/{stray}.txt": b"a stray bird\n"}))
    assert f"image {stray} is only in one of them" in message


@pytest.mark.parametrize(
    ("table", "line"),
    [
        ("images.txt", "five 004.Groove_billed_Ani/Groove_Billed_Ani_0001_13.jpg"),
        ("image_class_labels.txt", "5 four"),
        ("image_class_labels.txt", "5 4 4"),
        ("bounding_boxes.txt", "5 1.0 2.0 30.0 4x"),
    ],
)
def test_a_table_that_makes_no_sense_is_named(tmp_path, table, line):
    message = refused(tiny.write(tmp_path, with_line(table, 3, line)))
    assert f"{cub200.PHOTOS}: {table}: expected lines of image_id" in message


@pytest.mark.parametrize("table", ["images.txt", "image_class_labels.txt", "bounding_boxes.txt"])
def test_an_image_that_one_table_lacks_is_named(tmp_path, table):
    message = refused(tiny.write(tmp_path, with_line(table, 4, "")))
    assert "image 7 is not in all of images.txt" in message


@pytest.mark.parametrize("table", ["images.txt", "image_class_labels.txt", "bounding_boxes.txt"])
def test_a_table_that_is_missing_is_named(tmp_path, table):
    birds = without(tiny.tables() | tiny.photos(), f"CUB_200_2011/{table}")
    message = refused(tiny.write(tmp_path, birds))
    assert f"{cub200.PHOTOS}: it lacks one of images.txt" in message


def test_a_class_in_no_list_is_named(tmp_path):
    texts = tiny.texts() | {"cvpr2016_cub/testclasses.txt": b"\n"}
    message = refused(tiny.write(tmp_path, texts_=texts))
    assert "class 1 is in none of its lists" in message


@needs_shared
def test_every_real_bird_has_ten_captions():
    entries = cub200.entries(SHARED)
    assert len(entries) == 1412
    assert len({entry.class_id for entry in entries}) == 55
    assert {len(entry.captions) for entry in entries} == {10}
    assert not any("\ufffd" in caption for entry in entries for caption in entry.captions)


@needs_shared
def test_real_birds_are_divided_as_the_lists_name_their_folders():
    with tarfile.open(SHARED / cub200.CAPTIONS) as tar:
        lists = {
            split: tar.extractfile(f"cvpr2016_cub/{name}classes.txt").read().decode().split()
            for split, name in (("train", "trainval"), ("test", "test"))
        }
    assert {split: len(names) for split, names in lists.items()} == {"train": 150, "test": 50}
    split_of_folder = {folder: split for split, folders in lists.items() for folder in folders}
    folders = {photo.image_id: photo.member.split("/")[2] for photo in cub200.photos(SHARED)}
    found = {record.image_id: record.split for record in records(SHARED)}
    assert found == {image_id: split_of_folder[folder] for image_id, folder in folders.items()}


@needs_shared
def test_every_real_box_lies_in_its_photo():
    photos = list(cub200.photos(SHARED))
    assert len(photos) == 1412
    for photo in photos:
        width, height = Image.open(io.BytesIO(photo.data)).size
        left, top, box_width, box_height = photo.box
        assert left >= 0 and top >= 0
        # The copy's boxes were scaled with its photos, and pass an edge by less than a pixel.
        assert left + box_width <= width + 1 and top + box_height <= height + 1
