import io
import re
import tarfile
from functools import partial
from pathlib import Path

import pytest
from PIL import Image
from support import tiny_birds as tiny

from textbloom.core.errors import UserError
from textbloom.data import cub200, splits
from textbloom.data.base import Record

SHARED = Path(__file__).parents[3] / "shared" / "cub200"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="the small copy of CUB-200-2011 is not at hand")


def records(folder: Path, split: str = "class-disjoint") -> list[Record]:
    return splits.divide(cub200.entries(folder), split, 1, partial(cub200.published_split, folder))


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


@pytest.mark.parametrize("lacking", ["trainclasses.txt", "valclasses.txt"])
def test_train_and_val_classes_train_together_where_only_their_common_list_is_there(tmp_path, lacking):
    folder = tiny.write(tmp_path, texts_=without(tiny.texts(), f"cvpr2016_cub/{lacking}"))
    assert [record.split for record in records(folder)] == ["test", "test", "train", "train", "train", "train"]


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
    cub200.verify(folder)
    assert len(records(folder)) == len(list(cub200.photos(folder))) == 6


def test_marks_of_lost_bytes_between_words_become_spaces(tmp_path):
    text = "this\ufffd\ufffdbird\ufffd\ufffdis red,\ufffd\ufffdand small.\n"
    folder = tiny.write(tmp_path, texts_=tiny.texts() | {tiny.caption_name(5): text.encode()})
    assert records(folder)[2].captions == ("this bird is red, and small.",)


def test_an_image_without_captions_is_named(tmp_path):
    message = refused(tiny.write(tmp_path, texts_=without(tiny.texts(), tiny.caption_name(7))))
    assert "image 7" in message and tiny.BIRDS[7] in message and "no caption" in message


def test_a_caption_without_an_image_is_named(tmp_path):
    name = "cvpr2016_cub/text_c10/002.Laysan_Albatross/Laysan_Albatross_0003_99.txt"
    message = refused(tiny.write(tmp_path, texts_=tiny.texts() | {name: b"a stray bird\n"}))
    assert name in message and "no image" in message


def test_a_caption_file_under_another_class_than_its_image_is_named(tmp_path):
    texts = tiny.texts()
    name = "cvpr2016_cub/text_c10/004.Groove_billed_Ani/Laysan_Albatross_0001_14.txt"
    texts[name] = texts.pop(tiny.caption_name(7))
    message = refused(tiny.write(tmp_path, texts_=texts))
    assert name in message and "images.txt says 002.Laysan_Albatross" in message


def test_a_second_caption_file_of_an_image_is_named(tmp_path):
    name = "./" + tiny.caption_name(3)
    message = refused(tiny.write(tmp_path, texts_=tiny.texts() | {name: b"again\n"}))
    assert name in message and "image 3" in message


def test_caption_bytes_that_are_not_utf8_are_named_with_file_and_line(tmp_path):
    texts = tiny.texts() | {tiny.caption_name(2): "fine\nna\u00efve\n".encode("latin-1")}
    message = refused(tiny.write(tmp_path, texts_=texts))
    assert tiny.caption_name(2) in message and "line 2" in message and "0xef" in message


@pytest.mark.parametrize(
    ("table", "line", "named"),
    [
        ("images.txt", "5", "image 5 is not whole in each of images.txt, "),
        ("images.txt", "five 004.Groove_billed_Ani/Groove_Billed_Ani_0001_13.jpg", "images.txt: "),
        ("images.txt", "5 Groove_Billed_Ani_0001_13.jpg", "image 5 has no path <class>/<name>.jpg in images.txt"),
        ("images.txt", "5 004.Groove_billed_Ani/../Groove_Billed_Ani_0001_13.jpg", "image 5 has no path"),
        ("images.txt", f"5 {tiny.BIRDS[2]}.jpg", "image 5 has the path of another image in images.txt"),
        ("images.txt", f"2 {tiny.BIRDS[5]}.jpg", "images.txt: image 2 is listed twice"),
        ("image_class_labels.txt", "5 four", "image_class_labels.txt: "),
        ("image_class_labels.txt", "5 4 4", "image_class_labels.txt: .* line 3"),
        ("image_class_labels.txt", "5 2", "image 5 is of one class in images.txt and of another in image_class_labels"),
        ("image_class_labels.txt", "2 1", "image_class_labels.txt: image 2 is listed twice"),
        ("image_class_labels.txt", "", "image 5 is not whole in each of"),
        ("bounding_boxes.txt", "5 1.0 2.0 30.0", "image 5 is not whole in each of"),
        ("bounding_boxes.txt", "5 1.0 2.0 30.0 4x", "bounding_boxes.txt: "),
        ("bounding_boxes.txt", "5 1.0 2.0 nan 40.0", "image 5 is not whole in each of"),
        ("bounding_boxes.txt", "5 1.0 inf 30.0 40.0", "image 5 has no box in bounding_boxes.txt"),
        ("bounding_boxes.txt", "5 1.0 2.0 0.0 40.0", "image 5 has no box in bounding_boxes.txt"),
        ("bounding_boxes.txt", "5 1.0 2.0 30.0 -40.0", "image 5 has no box in bounding_boxes.txt"),
    ],
)
def test_a_line_of_a_table_that_makes_no_sense_is_named(tmp_path, table, line, named):
    message = refused(tiny.write(tmp_path, with_line(table, 3, line)))
    assert re.match(rf"{cub200.PHOTOS}: {named}", message), message


@pytest.mark.parametrize("table", ["images.txt", "image_class_labels.txt", "bounding_boxes.txt"])
def test_a_table_that_is_missing_is_named(tmp_path, table):
    birds = without(tiny.tables() | tiny.photos(), f"CUB_200_2011/{table}")
    message = refused(tiny.write(tmp_path, birds))
    assert f"{cub200.PHOTOS}: there is no CUB_200_2011/{table}" in message


def test_a_photo_that_the_tables_lack_is_named(tmp_path):
    name = "CUB_200_2011/images/002.Laysan_Albatross/Laysan_Albatross_0003_99.jpg"
    folder = tiny.write(tmp_path, tiny.tables() | tiny.photos() | {name: tiny.jpeg(1)})
    with pytest.raises(UserError, match=re.escape(f"{name}: images.txt does not list it")):
        list(cub200.photos(folder))


@pytest.mark.parametrize("box", ["-41 5 40 30", "95 5 40 30", "10 -70 40 30", "10 61 40 30", "80 5 40 30"])
def test_verification_names_a_box_that_lies_outside_its_photo(tmp_path, box):
    folder = tiny.write(tmp_path, with_line("bounding_boxes.txt", 3, f"5 {box}"))
    with pytest.raises(UserError, match=rf"{re.escape(tiny.photo_name(5))}: the box of image 5 .* 90 × 60"):
        cub200.verify(folder)


@pytest.mark.parametrize("box", ["0 0 90 60", "-1 -1 92 62", "50.5 20 40 41"])
def test_verification_accepts_a_box_that_passes_an_edge_a_little(tmp_path, box):
    cub200.verify(tiny.write(tmp_path, with_line("bounding_boxes.txt", 3, f"5 {box}")))


def test_verification_names_a_photo_that_is_no_picture(tmp_path):
    folder = tiny.write(tmp_path, tiny.tables() | tiny.photos() | {tiny.photo_name(5): b"<html>"})
    with pytest.raises(UserError, match=re.escape(tiny.photo_name(5))):
        cub200.verify(folder)


def test_a_split_that_birds_do_not_have_is_refused_with_those_they_have(tmp_path):
    folder = tiny.write(tmp_path)
    with pytest.raises(UserError, match="no split 'oxford'; there are class-disjoint, random, random-classes, none"):
        records(folder, "oxford")


def test_a_class_in_no_list_is_named(tmp_path):
    texts = tiny.texts() | {"cvpr2016_cub/valclasses.txt": b"\n"}
    message = refused(tiny.write(tmp_path, texts_=texts))
    assert "class 4 is in none of trainclasses.txt, valclasses.txt, testclasses.txt" in message


def test_a_class_in_two_lists_is_named_with_file_and_line(tmp_path):
    texts = tiny.texts() | {"cvpr2016_cub/valclasses.txt": b"004.Groove_billed_Ani\n\n002.Laysan_Albatross\n"}
    message = refused(tiny.write(tmp_path, texts_=texts))
    assert "cvpr2016_cub/valclasses.txt: line 3: class 2 is in trainclasses.txt too" in message


def test_a_line_of_a_class_list_that_names_no_class_is_named(tmp_path):
    texts = tiny.texts() | {"cvpr2016_cub/testclasses.txt": b"001.Black_footed_Albatross\npuffin\n"}
    assert "testclasses.txt: line 2: expected a class such as 001." in refused(tiny.write(tmp_path, texts_=texts))


def test_an_archive_without_a_list_of_test_classes_is_refused(tmp_path):
    message = refused(tiny.write(tmp_path, texts_=without(tiny.texts(), "cvpr2016_cub/testclasses.txt")))
    assert "no testclasses.txt" in message and "random-classes" in message


@pytest.mark.parametrize("name", [cub200.PHOTOS, cub200.CAPTIONS])
def test_verification_notices_each_archive_cut_short_or_missing(tmp_path, name):
    folder = tiny.write(tmp_path)
    cub200.verify(folder)
    whole = (folder / name).read_bytes()
    for length in (len(whole) // 2, len(whole) - 1):
        (folder / name).write_bytes(whole[:length])
        with pytest.raises(UserError, match=name):
            cub200.verify(folder)
    (folder / name).unlink()
    with pytest.raises(UserError, match=f"{name} is missing"):
        cub200.verify(folder)


@pytest.mark.parametrize(
    "members", [{"birds": tiny.tables()}, {"texts_": {"cats/1.txt": b"a cat\n"}}], ids=["photos", "captions"]
)
def test_verification_notices_another_archive_under_the_name(tmp_path, members):
    with pytest.raises(UserError, match="another archive"):
        cub200.verify(tiny.write(tmp_path, **members))


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
