import csv
from collections import Counter

import pytest
from support import tiny_flowers as tiny

from textbloom.core.errors import UserError
from textbloom.data import captions
from textbloom.data.base import Photo, Record
from textbloom.dataset.prepared import read_captions
from textbloom.metrics import retrieval


def record(image_id: int, split: str = "train", texts: tuple[str, ...] = ("a flower",)) -> Record:
    return Record(image_id, 1, texts, split)


def photo(image_id: int, data: bytes | None = None) -> Photo:
    return Photo(image_id, tiny.photo_name(image_id), data or b"picture %d" % image_id)


def ids(records: list[Record]) -> list[int]:
    return [each.image_id for each in records]


def test_lines_become_captions_in_order_and_blank_ones_are_skipped():
    data = b"the petals are red\r\n\r\n \xe2\x80\x8c \xe2\x80\x8d \n  white  petals,\tyellow centre. \n\n"
    assert captions.parse(data, "f") == ("the petals are red", "white petals, yellow centre.")


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("\ufeffthe flower", "the flower"),  # byte order mark
        ("cafe\u0301", "caf\u00e9"),  # combining accent
        ("soft\u00adhyphen zero\u200bwidth", "softhyphen zerowidth"),
        ("no\u00a0break \u3000 wide", "no break wide"),
        ("line\u2028separator", "line separator"),
        ("bell\x07 and nul\x00", "bell and nul"),
        ("\u202bright\u202c\u200f to left", "right to left"),
        ("می\u200cخواهم", "می\u200cخواهم"),  # the half-space of Persian
        ("\U0001f469\u200d\U0001f33e", "\U0001f469\u200d\U0001f33e"),  # woman and ear of rice: farmer
        ("\U0001f3f4\U000e0067\U000e0062\U000e007f", "\U0001f3f4\U000e0067\U000e0062\U000e007f"),  # a flag's letters
        ("\u200d loose joiners\u200c", "loose joiners"),
        ("Capitals, “quotes” — and 花!", "Capitals, “quotes” — and 花!"),
    ],
)
def test_odd_unicode_becomes_one_plain_line(written, kept):
    assert captions.parse(written.encode(), "f") == (kept,)


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_every_line_end_is_counted_when_a_bad_byte_is_named(end):
    with pytest.raises(UserError, match="f: line 3: byte 0xff"):
        captions.parse(end.join([b"one", "zw\u00f6lf".encode(), b"bad \xff byte"]), "f")


@pytest.mark.parametrize("mark", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("start", ["\ufeff", ""])
def test_utf16_is_read_with_or_without_its_byte_order_mark_and_a_broken_end_of_it_named(mark, end, start):
    data = f"{start}a rosé{end}花びら{end}".encode(mark)
    assert captions.parse(data, "f") == ("a rosé", "花びら")
    with pytest.raises(UserError, match=r"f: line 3: byte 0x.. is not UTF-16\S*: save it as UTF-8"):
        captions.parse(data + b"x", "f")


def test_zero_bytes_here_and_there_do_not_make_utf16_of_a_text():
    assert captions.parse("花\0びら a\0 flower".encode(), "f") == ("花びら a flower",)


def test_a_line_too_long_for_any_reader_is_named_with_its_mend():
    longest = "x" * 131_072
    assert captions.parse(f"a flower\n{longest}".encode(), "f") == ("a flower", longest)
    with pytest.raises(UserError, match="f: line 2 has 131,073 characters: part it into lines"):
        captions.parse(f"a flower\n{longest}x".encode(), "f")


def test_a_copy_in_test_drives_its_twins_out_of_train_and_val():
    records = [record(1), record(2, "val"), record(3, "test"), record(4), record(5, "test")]
    kept, dropped = captions.without_leaks(records, [photo(id_, b"same" if id_ < 4 else None) for id_ in range(1, 6)])
    assert (ids(kept), ids(dropped)) == ([3, 4, 5], [1, 2])


def test_copies_within_one_split_are_kept():
    records = [record(1), record(2), record(3, "test"), record(4, "test")]
    kept, dropped = captions.without_leaks(records, [photo(1, b"a"), photo(2, b"a"), photo(3, b"b"), photo(4, b"b")])
    assert (ids(kept), dropped) == ([1, 2, 3, 4], [])


def many() -> list[Record]:
    """100 images, split by split, as a data set sorted by class has them."""
    splits = ["train"] * 70 + ["test"] * 20 + ["val"] * 10
    return [record(id_, split) for id_, split in enumerate(splits, start=1)]


@pytest.mark.parametrize("limit", [3, 10, 37, 99, 100])
def test_a_limit_takes_exactly_that_many_and_every_split_keeps_its_share(limit):
    taken = captions.first(many(), limit)
    assert len(taken) == limit
    for split, count in Counter(each.split for each in taken).items():
        share = limit * Counter(each.split for each in many())[split] / 100
        assert abs(count - share) < 2  # each split is rounded up, and one of the three gives way
    assert {each.split for each in taken} == {"train", "val", "test"}


def test_a_limit_takes_the_first_images_of_each_split_in_order_of_id():
    taken = captions.first(many()[::-1], 50)
    assert ids(taken) == sorted(ids(taken))
    for split, first_id in (("train", 1), ("test", 71), ("val", 91)):
        of_split = [each.image_id for each in taken if each.split == split]
        assert of_split == list(range(first_id, first_id + len(of_split)))


def test_a_larger_limit_only_adds_images():
    for limit in range(2, 100):
        assert set(ids(captions.first(many(), limit))) < set(ids(captions.first(many(), limit + 1)))


def test_no_limit_keeps_every_image():
    assert captions.first(many(), None) == captions.first(many(), 1000) == many()


def of_splits(**counts: int) -> list[Record]:
    """So many pictures of each split, whose captions all differ."""
    splits = [split for split, count in counts.items() for _ in range(count)]
    return [record(number, split, (f"flower {number}",)) for number, split in enumerate(splits, 1)]


@pytest.mark.parametrize(
    "records", [of_splits(train=250, val=60, test=300), of_splits(train=600), of_splits(train=600, val=300)]
)
def test_as_many_pictures_as_evaluation_compares_are_enough(records):
    splits = {each.split for each in records}
    captions.check_counts(records, "test" if "test" in splits else "val", splits - {"test"}, 300, "raise drawn.count")


def test_as_many_different_captions_are_asked_for_as_pictures_choose_from():
    assert captions.LEAST == retrieval.CANDIDATES


@pytest.mark.parametrize(
    ("records", "said"),
    [
        (
            of_splits(train=600, test=299),
            "300 is more than the 299 pictures of split test; set it to 299 or fewer, or MORE",
        ),
        (of_splits(train=600, test=90), "evaluate.samples: 300 is more than the 90 pictures of split test; MORE"),
        (of_splits(train=99, test=300), "more than the 99 pictures that training learns from; MORE"),
        (
            of_splits(train=599),
            "more than the 299 pictures of the half that evaluation compares with the other; set it to",
        ),
        (of_splits(train=600, val=300), "evaluate.split: the data have no picture of split test, but of val; change"),
        (
            [*of_splits(train=600), *(record(1000 + n, "test", (f"flower {n % 99}",)) for n in range(300))],
            "the 300 pictures that evaluation may compare begin with 99 different captions, fewer than the 100",
        ),
    ],
)
def test_too_few_pictures_or_captions_are_told_before_training_with_the_mend(records, said):
    with pytest.raises(UserError) as caught:
        captions.check_counts(records, "test", {"train"}, 300, "MORE")
    assert said in str(caught.value)


def test_the_table_is_sorted_has_the_first_captions_and_survives_quotes_and_commas(tmp_path):
    path = tmp_path / "captions.csv"
    odd = ('a "red", round flower', "nan", "third")
    captions.write(path, [record(7, "test"), Record(2, 5, odd, "val")], per_image=2)
    raw = path.read_bytes()
    assert b"\r" not in raw and raw.endswith(b"\n")
    with open(path, encoding="utf-8", newline="") as file:
        assert list(csv.reader(file)) == [
            ["image_id", "class_id", "split", "caption_index", "caption"],
            ["2", "5", "val", "0", 'a "red", round flower'],
            ["2", "5", "val", "1", "nan"],
            ["7", "1", "test", "0", "a flower"],
        ]
    assert read_captions(path)["caption"].tolist() == [*odd[:2], "a flower"]


def test_the_ids_of_the_table_come_once_each_in_order(tmp_path):
    captions.write(tmp_path / "captions.csv", [record(12, texts=("a, b", "c")), record(3)], per_image=None)
    assert captions.image_ids(tmp_path / "captions.csv") == [3, 12]
    with pytest.raises(UserError, match=r"none\.csv is missing.*make repro"):
        captions.image_ids(tmp_path / "none.csv")
