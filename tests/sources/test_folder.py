"""A person's own pictures: both forms of captions, the pack that they become, and each mistake by its name."""

import codecs
import csv
import os
import shutil
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.pictures import POINTER, encoded
from support.tiny_flowers import jpeg

from textbloom.core.errors import UserError
from textbloom.data import captions, folder, registry, splits
from textbloom.data.base import Entry, Options
from textbloom.data.decoding import decode
from textbloom.sources import folder as packing
from textbloom.sources.folder import pictures

EXAMPLE = Path(__file__).parents[2] / "docs" / "folder" / "example"


def fill(place: Path, files: dict[str, bytes | str]) -> Path:
    for name, content in files.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return place


def packed(source: Path) -> Path:
    pack = source.parent / "pack"
    shutil.rmtree(pack, ignore_errors=True)
    pack.mkdir()
    packing.obtain(pack, Options(Path(), path=source))
    return pack


def refused(source: Path, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        packed(source)
    assert "\n" not in str(caught.value)


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    return fill(
        tmp_path / "mine",
        {
            "captions.csv": "file,caption,class\nb.jpg,a blue one,two\na/a.jpg,a red one,one\nb.jpg,seen again,two\n",
            "a/a.jpg": jpeg(1),
            "b.jpg": jpeg(2),
        },
    )


def beside(place: Path) -> Path:
    """The other form: texts beside their pictures, some in subfolders."""
    return fill(
        place,
        {
            "tulips/b.jpg": jpeg(1),
            "tulips/b.txt": "a tulip\n\nits petals are closed\n",
            "roses/old/a.PNG": jpeg(2),
            "roses/old/a.txt": "an old rose",
            "z.v2.jpeg": jpeg(3),
            "z.v2.txt": "no class has this one",
        },
    )


def test_a_table_gives_captions_in_its_order_ids_by_path_and_classes_by_name(mine):
    pack = packed(mine)
    assert folder.entries(pack) == [Entry(1, 1, ("a red one",)), Entry(2, 2, ("a blue one", "seen again"))]
    assert [(each.image_id, each.member, each.data) for each in folder.photos(pack)] == [
        (1, "a/a.jpg", jpeg(1)),
        (2, "b.jpg", jpeg(2)),
    ]
    with open(pack / folder.CAPTIONS, encoding="utf-8", newline="") as file:
        assert [row["class_name"] for row in csv.DictReader(file)] == ["one", "two", "two"]


def test_texts_beside_pictures_give_a_caption_a_line_and_folders_are_classes(tmp_path):
    pack = packed(beside(tmp_path / "mine"))
    assert folder.entries(pack) == [
        Entry(1, 1, ("an old rose",)),
        Entry(2, 2, ("a tulip", "its petals are closed")),
        Entry(3, 0, ("no class has this one",)),
    ]
    assert "roses/old" in (pack / folder.CAPTIONS).read_text()


def test_without_a_class_column_folders_are_classes_and_an_empty_cell_is_none(mine):
    (mine / "captions.csv").write_text("file,caption\nb.jpg,x\na/a.jpg,y\n")
    assert [entry.class_id for entry in folder.entries(packed(mine))] == [1, 0]
    (mine / "captions.csv").write_text("file,caption,class\nb.jpg,x,\na/a.jpg,y,\n")
    assert [entry.class_id for entry in folder.entries(packed(mine))] == [0, 0]


@pytest.mark.parametrize(
    "rewritten",
    [
        lambda text: codecs.BOM_UTF8 + text,
        lambda text: text.replace(b"\n", b"\r\n"),
        lambda text: codecs.BOM_UTF8 + text.replace(b"\n", b"\r\n").replace(b",", b";"),
        lambda text: text.replace(b"file,caption,class", b" File , Caption,CLASS"),
        lambda text: text + b"\n,,\n\n",
        lambda text: text.replace(b"a/a.jpg", b"./a\\a.jpg"),
        lambda text: text.replace(b",", b"\t"),
        lambda text: b"sep=;\r\n" + text.replace(b",", b";"),
        lambda text: b'"sep=,"\n\n' + text,
        lambda text: text.replace(b",", b"\t").decode().encode("utf-16"),
        lambda text: text.replace(b"two\n", b"two,\n"),
        lambda text: text.replace(b"file,caption", b'file, "caption"'),
        lambda text: text.replace(b"a blue one", '\u00a0 "a blue one"'.encode()),
    ],
    ids=[
        "byte order mark",
        "CRLF",
        "as spreadsheets save it",
        "header",
        "blank rows",
        "backslash",
        "tabs",
        "sep=",
        "sep= in quotes",
        "Excel's Unicode text",
        "a comma too many",
        "header in quotes",
        "another blank before a quotation mark",
    ],
)
def test_what_spreadsheets_make_of_a_table_changes_nothing(mine, rewritten):
    expected = (packed(mine) / folder.CAPTIONS).read_bytes()
    (mine / "captions.csv").write_bytes(rewritten((mine / "captions.csv").read_bytes()))
    assert (packed(mine) / folder.CAPTIONS).read_bytes() == expected


def test_captions_keep_commas_quotes_and_every_script_and_become_one_line(mine):
    (mine / "captions.csv").write_text(
        'file,caption\nb.jpg,"red, ""round""\nand  wide"\na/a.jpg,花びらは赤い; nan\n', encoding="utf-8"
    )
    pack = packed(mine)
    assert [entry.captions for entry in folder.entries(pack)] == [("花びらは赤い; nan",), ('red, "round" and wide',)]


def test_a_blank_before_a_quotation_mark_is_none_of_the_caption(mine):
    (mine / "captions.csv").write_text('file, caption\n "b.jpg",  "red, wide"\na/a.jpg, a "pink" one\n')
    assert [entry.captions for entry in folder.entries(packed(mine))] == [('a "pink" one',), ("red, wide",)]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (
            'file,caption\na/a.jpg,"a red one\nb.jpg,a blue one"\n',
            r"lines 2 to 3 are one row, .* up to 'b\.jpg': close",
        ),
        (
            'file,caption\na/a.jpg,x\na/a.jpg,"red\n"b.jpg", "blue"\n',
            "lines 3 to 4: .*: look for an odd quotation mark",
        ),
        ('file;caption\nb.jpg;"a blue one\nb.jpg;seen; again"\na/a.jpg;x\n', r"lines 2 to 3 are one row"),
        ('caption,file\n"a red one,a/a.jpg\na blue one",b.jpg\n', r"lines 2 to 3 are one row, .* up to 'a/a\.jpg'"),
        ('file,caption\na/a.jpg,"x\nc.JPG,y"\nb.jpg,z\n', r"lines 2 to 3 are one row, .* up to 'c\.JPG'"),
        ('file,caption\nb.jpg,x\na/a.jpg,"y\nb.jpg,z\n', "lines 3 to 5: unexpected end of data: look for an odd quot"),
        ('file,caption\nb.jpg,x\na/a.jpg,"y" \n', "line 3: .*: look for an odd quotation mark, for a blank behind one"),
        ("file,caption\nb.jpg,“red, wide”\na/a.jpg,y\n", """line 2: 3 fields .* holds a ',' into straight "quotes\""""),
    ],
)
def test_a_quotation_mark_that_stays_open_swallows_no_row_and_every_other_odd_one_is_named(mine, table, message):
    (mine / "captions.csv").write_text(table, encoding="utf-8")
    refused(mine, rf"captions\.csv: {message}")


@pytest.mark.parametrize(
    ("picture", "text"),
    [
        ("IMG_1.JPG", "IMG_1.TXT"),
        ("Ros\u00e9.jpg", "Rose\u0301.txt"),
        ("e\u0301/Rose\u0301.jpg", "\u00e9/Ros\u00e9.Txt"),
    ],
)
def test_a_text_captions_its_picture_in_either_form_of_unicode_and_with_its_ending_in_capitals(tmp_path, picture, text):
    mine = fill(tmp_path / "mine", {picture: jpeg(1), text: "a rose"})
    assert [entry.captions for entry in folder.entries(packed(mine))] == [("a rose",)]


def test_names_that_are_not_the_same_are_kept_apart(tmp_path):
    mine = fill(tmp_path / "mine", {"straße.jpg": jpeg(1), "strasse.jpg": jpeg(2), "Strasse.jpg": jpeg(3)})
    fill(mine, {"straße.txt": "sharp", "strasse.txt": "double", "Strasse.txt": "large"})
    captions = [("large",), ("double",), ("sharp",)]
    assert [entry.captions for entry in folder.entries(packed(mine))] == captions
    for text in mine.glob("*.txt"):
        text.unlink()
    fill(mine, {"Captions.CSV": "file,caption\nStrasse.jpg,large\nstraße.jpg,sharp\nstrasse.jpg,double\n"})
    assert [entry.captions for entry in folder.entries(packed(mine))] == captions


def test_a_name_may_be_composed_in_the_table_and_decomposed_on_the_disk(tmp_path):
    mine = fill(tmp_path / "mine", {"cafe\u0301.jpg": jpeg(1), "captions.csv": "file,caption\ncaf\u00e9.jpg,a cup\n"})
    assert folder.entries(packed(mine)) == [Entry(1, 0, ("a cup",))]


def test_every_kind_of_picture_reaches_the_images_stage(tmp_path):
    mine, colours = tmp_path / "mine", {}
    mine.mkdir()
    for number, suffix in enumerate(pictures.SUFFIXES):
        colours[suffix] = (15 * number, 100, 200)
        kind = Image.registered_extensions().get(suffix, "JPEG")
        Image.new("RGB", (70, 80), colours[suffix]).save(mine / f"p{suffix}", kind)
        (mine / f"p{suffix}").rename(mine / f"{number:02}{suffix}")
        (mine / f"{number:02}.txt").write_text("a plain colour")
    photos = list(folder.photos(packed(mine)))
    assert [photo.member for photo in photos] == [f"{n:02}{suffix}" for n, suffix in enumerate(pictures.SUFFIXES)]
    for photo, colour in zip(photos, colours.values(), strict=True):
        found = decode(photo, 64).reshape(3, -1).mean(1)
        assert np.abs(found - colour).max() < 4, photo.member


def test_a_picture_of_a_kind_that_is_not_read_may_lie_beside_one_that_is(mine):
    expected = (packed(mine) / folder.CAPTIONS).read_bytes()
    fill(mine, {"B.HEIC": b"x", "a/a.cr2": b"x"})
    assert (packed(mine) / folder.CAPTIONS).read_bytes() == expected


def test_hidden_files_and_other_kinds_of_files_are_passed_over(mine):
    expected = (packed(mine) / folder.CAPTIONS).read_bytes()
    fill(mine, {".DS_Store": b"x", "a/._a.jpg": b"x", ".trash/c.jpg": b"x", "notes.md": "x", "LICENSE.txt": "x"})
    assert (packed(mine) / folder.CAPTIONS).read_bytes() == expected


def test_the_pack_has_the_same_bytes_wherever_whenever_and_in_whatever_order_files_were_made(tmp_path):
    first = packed(beside(tmp_path / "here" / "mine"))
    other = tmp_path / "there" / "yours"
    for path in sorted((tmp_path / "here" / "mine").rglob("*.*"), reverse=True):
        fill(other, {path.relative_to(tmp_path / "here" / "mine").as_posix(): path.read_bytes()})
        os.utime(other / path.relative_to(tmp_path / "here" / "mine"), (1, 1))
    second = packed(other)
    for name in (folder.CAPTIONS, folder.PICTURES):
        assert (first / name).read_bytes() == (second / name).read_bytes()
    (other / "z.v2.jpeg").write_bytes(jpeg(4))
    assert (packed(other) / folder.PICTURES).read_bytes() != (first / folder.PICTURES).read_bytes()


def test_packing_and_reading_hold_a_few_pictures_in_memory_not_all(tmp_path):
    mine, size, count = tmp_path / "mine", 2**20, 24
    fill(mine, {f"{n}.jpg": jpeg(n) + bytes(size) for n in range(count)} | {f"{n}.txt": "x" for n in range(count)})
    tracemalloc.start()
    try:
        pack = packed(mine)
        assert sum(len(photo.data) > size for photo in folder.photos(pack)) == count
        assert tracemalloc.get_traced_memory()[1] < 8 * size
    finally:
        tracemalloc.stop()


def without(name: str) -> Callable[[Path], object]:
    return lambda mine: (mine / name).unlink()


def with_table(text: str | bytes) -> Callable[[Path], object]:
    return lambda mine: (mine / "captions.csv").write_bytes(text.encode() if isinstance(text, str) else text)


def with_file(name: str, content: bytes | str) -> Callable[[Path], object]:
    return lambda mine: fill(mine, {name: content})


WHOLE = "file,caption\nb.jpg,x\na/a.jpg,y\n"


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        (without("b.jpg"), r"captions\.csv: line 2: the folder has no picture 'b\.jpg': add it, or remove"),
        (with_file("c.jpg", jpeg(3)), r"captions\.csv: no line captions c\.jpg: add one, or take the picture away"),
        (with_table(WHOLE.replace("b.jpg", "B.jpg")), r"line 2: .* 'B\.jpg': write 'b\.jpg', as in the folder"),
        (with_table(WHOLE.replace("b.jpg", "../b.jpg")), r"line 2: the folder has no picture '\.\./b\.jpg'"),
        (with_table(WHOLE + "b.jpg, \u200b\n"), r"line 4: b\.jpg has an empty caption: write one, or remove the line"),
        (with_table(WHOLE + "b.jpg,one, two\n"), r'line 4: 3 fields where the header has 2: .* into straight "quotes"'),
        (with_table(WHOLE + " ,x\n"), r"line 4: the folder has no picture '': add it, or remove the line"),
        (with_table(WHOLE + "b.jpg\n"), r"line 4: 1 fields where the header has 2: part them by ','"),
        (with_table(WHOLE.replace("b.jpg", "a/../b.jpg")), r"line 2: .*: write 'b\.jpg', as in the folder"),
        (with_table(WHOLE.replace("b.jpg", "b.png")), r"line 2: .*: write 'b\.jpg', as in the folder"),
        (with_table(WHOLE.replace("b.jpg", ".b.jpg")), r"line 2: .*: rename it, for what begins with a dot is"),
        (with_table(WHOLE + f"{'x' * 3000},b.jpg\n"), r"line 4: the folder has no picture 'x{60}': add it"),
        (with_table(WHOLE + "b.jpg,ros\ufffd rouge\n"), r"line 4: letters were lost where it says \ufffd"),
        (with_table(bytes(4096)), r"line 1: expected file,caption .*, got '(\\x00){60}': name"),
        (with_file("a\rb.jpg", jpeg(3)), r"mine: 'a\\rb\.jpg' has a line end in its name: rename it"),
        (with_table(WHOLE + 'b.jpg,"open\n'), r"captions\.csv: lines 4 to 5: .*look for an odd quotation mark"),
        (with_table("b.jpg,x\na/a.jpg,y\n"), r"line 1: expected file,caption or file,caption,class, got 'b"),
        (with_table("file,caption,label\nb.jpg,x,1\n"), r"line 1: expected .*, got 'file,caption,label'"),
        (with_table("file,caption,file\nb.jpg,x,b\n"), r"line 1: expected"),
        (with_table(""), r"line 1: expected"),
        (with_table(WHOLE.encode() + b"b.jpg,sch\xf6n\n"), r"captions\.csv: line 4: byte 0xf6 is not UTF-8: save"),
        (
            with_table(WHOLE.encode("utf-16") + b"x"),
            r"captions\.csv: line 4: byte 0x78 is not UTF-16: save it as UTF-8",
        ),
        (with_table(WHOLE + f"b.jpg,{'x' * 131_073}\n"), r"line 4: field larger than .*, or for a field too long"),
        (
            with_table("file,caption,class\nb.jpg,x,one\na/a.jpg,y,one\nb.jpg,z,two\n"),
            r"line 4: b\.jpg is of class 'two' here and of 'one' above",
        ),
        (with_file("b.txt", "x"), r"both captions\.csv and b\.txt caption a picture: keep one of the two"),
        (with_file("Captions.csv", "x"), r"both Captions\.csv and captions\.csv caption a picture: keep one"),
        (with_table(WHOLE + "c.mp4,x\n"), r"line 4: the folder has no picture 'c\.mp4': add it, or remove the line"),
        (
            lambda mine: (with_file("c.mp4", "x")(mine), with_table(WHOLE + "c.mp4,x\n")(mine)),
            r"line 4: the folder has no picture 'c\.mp4': convert the file to JPEG",
        ),
        (
            with_file("c.HEIC", b"x"),
            r"mine: c\.HEIC cannot be read: convert to JPEG, or take away, what ends in \.heic",
        ),
        (
            lambda mine: fill(mine, {f"{n}.{kind}": b"x" for n in (1, 2) for kind in ("heic", "jxl")}),
            r"mine: 1\.heic, 1\.jxl, 2\.heic and 1 more cannot be read: .* what ends in \.heic \.jxl",
        ),
        (
            lambda mine: fill(mine, {"\u00e9.jpg": jpeg(3), "e\u0301.jpg": jpeg(4)}),
            r"mine: 'e\\u0301\.jpg' and '\\xe9\.jpg' are read as one name: rename one",
        ),
        (with_file("b.jpg", b""), r"b\.jpg cannot be read as a picture"),
        (
            with_file("b.jpg", b"<html>"),
            r"b\.jpg cannot be read as a picture \(its bytes are of none of the kinds JPEG, .*\): save it anew, as",
        ),
        (without("captions.csv"), r"a\.jpg has no caption: write a/a\.txt beside it, .* or give the folder a captions"),
        (lambda mine: shutil.rmtree(mine), r"data\.path: .*mine: No such file or directory: correct the path"),
        (
            lambda mine: (without("b.jpg")(mine), without("a/a.jpg")(mine)),
            r"data\.path: .*mine holds no picture \(\.jpg",
        ),
    ],
)
def test_a_mistake_in_a_table_or_its_pictures_is_named_with_its_mend(mine, mistake, message):
    mistake(mine)
    refused(mine, message)


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        (without("tulips/b.txt"), r"tulips/b\.jpg has no caption: write tulips/b\.txt beside it, one caption a line"),
        (without("tulips/b.jpg"), r"tulips/b\.txt has no picture of its name: add the picture, or take the text away"),
        (
            with_file("tulips/b.TXT", "x"),
            r"both tulips/b\.TXT and tulips/b\.txt caption a picture: keep one of the two",
        ),
        (
            with_file("tulips/b.png", b"x"),
            r"both tulips/b\.jpg and tulips/b\.png are captioned by tulips/b\.txt: keep one of the two",
        ),
        (
            lambda mine: (mine / "tulips/b.txt").rename(mine / "tulips/B.txt"),
            r"tulips/b\.jpg has no caption: rename tulips/B\.txt to tulips/b\.txt, capitals too",
        ),
        (
            lambda mine: (mine / "tulips/b.txt").rename(mine / "Captions.xlsx"),
            r"tulips/b\.jpg has no caption: save Captions\.xlsx as captions\.csv, parted by commas",
        ),
        (with_file("tulips/b.txt", " \n\n"), r"tulips/b\.txt: holds no caption, only blank lines"),
        (with_file("tulips/b.txt", b"ok\n\xff"), r"tulips/b\.txt: line 2: byte 0xff is not UTF-8"),
        (with_file("tulips/b.txt", "ok\nros\ufffd"), r"tulips/b\.txt: line 2: letters were lost"),
        (
            lambda mine: (mine / "tulips/b.jpg").rename(mine / "tulips/b.mp4"),
            r"tulips/b\.mp4 is of a kind that is not read: convert it to JPEG",
        ),
    ],
)
def test_a_mistake_in_texts_beside_pictures_is_named_with_its_mend(tmp_path, mistake, message):
    mine = beside(tmp_path / "mine")
    mistake(mine)
    refused(mine, message)


def test_a_link_to_a_picture_is_a_picture_and_one_to_a_folder_is_refused(mine):
    (mine / "b.jpg").rename(mine.parent / "outside.jpg")
    (mine / "b.jpg").symlink_to(mine.parent / "outside.jpg")
    assert [photo.data for photo in folder.photos(packed(mine))] == [jpeg(1), jpeg(2)]
    (mine / "more").symlink_to(mine / "a")
    refused(mine, r"mine/more is a link to a folder: put the pictures themselves into")


def test_a_picture_that_is_cut_short_is_named_as_in_the_folder_when_it_is_decoded(mine):
    (mine / "a/a.jpg").write_bytes(jpeg(1)[:-200])
    with pytest.raises(UserError, match=r"photo a/a\.jpg"):
        decode(next(iter(folder.photos(packed(mine)))), 64)


def test_a_huge_picture_is_refused_before_it_is_packed_unless_it_decodes_smaller(mine):
    huge = Image.new("L", (12_000, 9_000))
    fill(mine, {"b.jpg": encoded(huge, "JPEG", quality=50)})
    assert [decode(photo, 64).shape for photo in folder.photos(packed(mine))] == [(3, 64, 64)] * 2
    fill(mine, {"b.jpg": encoded(huge.convert("1"))})
    refused(mine, r"b\.jpg has 108 megapixels, at most 89: scale it down$")


@pytest.mark.parametrize("name", ["b.jpg", "captions.csv"])
def test_a_pointer_of_git_lfs_is_known_in_the_place_of_a_picture_or_its_captions(mine, name):
    fill(mine, {name: POINTER})
    refused(mine, rf"{name} is only Git LFS's pointer to the file: run `git lfs pull` in its folder$")


def test_what_no_archive_may_hold_is_refused_before_it_is_packed(mine, monkeypatch):
    monkeypatch.setattr(pictures, "MEMBER_BYTES", 100)
    refused(mine, r"a\.jpg has more than 0 MiB: scale the picture down")


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        (folder.CAPTIONS, lambda data: data.replace(b"2,", b"two,"), r"captions\.csv cannot be read"),
        (folder.PICTURES, lambda data: data[:-600], r"pictures\.tar\.gz cannot be read"),
    ],
)
def test_a_damaged_pack_is_refused(mine, name, change, message):
    pack = packed(mine)
    assert len(list(folder.photos(pack))) == 2
    (pack / name).write_bytes(change((pack / name).read_bytes()))
    with pytest.raises(UserError, match=message):
        list(folder.photos(pack))


@pytest.mark.parametrize("name", [folder.CAPTIONS, folder.PICTURES])
def test_a_pack_without_one_of_its_files_is_refused(mine, name):
    pack = packed(mine)
    (pack / name).unlink()
    with pytest.raises(UserError, match=f"{name} cannot be read"):
        list(folder.photos(pack))


def test_the_documented_example_goes_from_folder_to_rows_and_a_failure_leaves_the_earlier_pack(tmp_path):
    manifest = registry.fill("folder", tmp_path / "raw", packing, Options(tmp_path, path=EXAMPLE))
    assert set(manifest) == {folder.CAPTIONS, folder.PICTURES}
    entries = folder.entries(tmp_path / "raw")
    assert len(entries) == 8
    assert {entry.class_id for entry in entries} == {1, 2}
    for how, held_out in (("random", 1), ("random-classes", 4), ("none", 0)):
        records = splits.divide(folder, tmp_path / "raw", how, 1)
        kept, dropped = captions.without_leaks(records, folder.photos(tmp_path / "raw"))
        assert sum(record.split == "test" for record in kept) == held_out
        assert not dropped

    with pytest.raises(UserError, match="nowhere: No such file"):
        registry.fill("folder", tmp_path / "raw", packing, Options(tmp_path, path=tmp_path / "nowhere"))
    assert folder.entries(tmp_path / "raw") == entries
