"""A table, or an object of JSON, that is not as its stage wrote it is refused in one line that names file and line."""

import pytest

from textbloom.core import files, tables
from textbloom.core.errors import UserError
from textbloom.core.tensors import load_image_ids
from textbloom.data.captions import image_ids
from textbloom.dataset.prepared import read_captions

HEADER = b"image_id,class_id,split,caption_index,caption\n"
ROW = b'1,7,train,0,"a red, a ""pink"" flower"\n'


def test_a_sound_table_is_read_by_both_rooms(tmp_path):
    path = tmp_path / "captions.csv"
    path.write_bytes(HEADER + ROW + b"2,7,test,0,nan\n")
    rows = read_captions(path)
    assert rows["caption"].tolist() == ['a red, a "pink" flower', "nan"]
    assert rows["image_id"].tolist() == image_ids(path) == [1, 2]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", r"line 1 is damaged \(expected the header image_id,class_id"),
        (HEADER[1:] + ROW, "line 1 is damaged"),
        (HEADER + ROW + b"2,7,train,0\n", "line 3 is damaged"),
        (HEADER + ROW + b"2,7,train,0,red,\n", "line 3 is damaged"),
        (HEADER + ROW + b"\n", "line 3 is damaged"),
        (HEADER + ROW[:-3], "line 2 is damaged"),
        (HEADER + b"l,7,train,0,red\n", "line 2 is damaged"),
        (HEADER + b"01,7,train,0,red\n", "line 2 is damaged"),
        (HEADER + b"1" * 19 + b"9,7,train,0,red\n", "line 2 is damaged"),
        (HEADER + b"1" * 5000 + b",7,train,0,red\n", "line 2 is damaged"),
        (HEADER + ROW + b"1,7,tra\xcen,0,red\n", r"line 3: byte 0xce is not UTF-8"),
        (HEADER + b"1,7,trian,0,red\n", r"line 2 is damaged \(there is no split 'trian'"),
        (HEADER + b"1,7,train,0," + b"r" * 200_000 + b"\n", "line 2 is damaged"),
    ],
)
def test_a_damaged_table_is_one_line_that_names_file_and_line(tmp_path, content, said):
    path = tmp_path / "captions.csv"
    path.write_bytes(content)
    for read in (read_captions, image_ids):
        with pytest.raises(UserError, match=rf"captions\.csv: {said}.*make repro"):
            read(path)


@pytest.mark.parametrize("content", [b"", b"image_id\n1\n2.5\n", b"image_id\n1 2\n", b"image_id\n1\n\n", b"\xff\xfe"])
def test_damaged_ids_are_one_line(tmp_path, content):
    (tmp_path / "image_ids.csv").write_bytes(content)
    with pytest.raises(UserError, match=r"image_ids\.csv: line \d.*make repro"):
        load_image_ids(tmp_path / "image_ids.csv")


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b'{"a": "\xe9"}', b"null", b"\xff\xfe"])
def test_damaged_json_is_one_line(tmp_path, content):
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(UserError, match=r"config\.json.*make repro"):
        files.read_json(tmp_path / "config.json")


def test_what_is_missing_is_one_line(tmp_path):
    for read in (lambda path: tables.read(path, tables.IMAGE_IDS), files.read_json, files.read_text):
        with pytest.raises(UserError, match=r"nothing is missing: run `make repro`"):
            read(tmp_path / "nothing")
