"""Seeded divisions: stratified, disjoint, the same for a seed."""

from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from support.tiny_flowers import write_archive

from textbloom.core.errors import UserError
from textbloom.data import splits
from textbloom.data.base import Dataset, Entry, Record

SIZES = {3: 40, 7: 10, 8: 1, 11: 57, 12: 5, 20: 2}


def entries() -> list[Entry]:
    classes = [class_id for class_id, size in SIZES.items() for _ in range(size)]
    return [Entry(id_, class_id, ("a flower",)) for id_, class_id in enumerate(classes, start=1)]


def divided(how: str, seed: int = 1, of: list[Entry] | None = None) -> list[Record]:
    dataset = SimpleNamespace(
        entries=lambda folder: entries() if of is None else of,
        PUBLISHED_SPLITS={"all-val": lambda folder, entries: {entry.image_id: "val" for entry in entries}},
    )
    return splits.divide(cast(Dataset, dataset), Path(), how, seed)


def held_out(records: list[Record]) -> set[int]:
    return {record.image_id for record in records if record.split == "test"}


@pytest.mark.parametrize("how", ["random", "random-classes", "none"])
def test_every_entry_keeps_its_place_and_content_and_is_in_train_or_test(how):
    for entry, record in zip(entries(), divided(how), strict=True):
        assert (record.image_id, record.class_id, record.captions) == (entry.image_id, entry.class_id, entry.captions)
        assert record.split in ("train", "test")


@pytest.mark.parametrize("seed", range(5))
def test_a_random_split_tests_on_a_fifth_of_every_class(seed):
    counts = Counter(record.class_id for record in divided("random", seed) if record.split == "test")
    assert sum(counts.values()) == len(entries()) // 5
    for class_id, size in SIZES.items():
        assert size // 5 <= counts[class_id] <= -(-size // 5)


@pytest.mark.parametrize("seed", range(5))
def test_random_classes_never_share_a_class_between_the_sides(seed):
    records = divided("random-classes", seed)
    sides = [{record.class_id for record in records if record.split == split} for split in ("train", "test")]
    assert not sides[0] & sides[1]
    assert len(sides[1]) == 2  # a fifth of six, rounded up


@pytest.mark.parametrize("how", ["random", "random-classes"])
def test_the_seed_decides_and_the_order_of_entries_does_not(how):
    assert held_out(divided(how, 1)) == held_out(divided(how, 1, entries()[::-1]))
    assert len({frozenset(held_out(divided(how, seed))) for seed in range(20)}) > 5


def test_without_a_split_everything_trains():
    assert held_out(divided("none")) == set()


def test_classes_cannot_be_divided_where_there_is_but_one():
    with pytest.raises(UserError, match=r"data\.split: random-classes needs at least two classes"):
        divided("random-classes", of=[Entry(1, 0, ("a",)), Entry(2, 0, ("b",))])


def test_a_published_split_is_asked_of_the_data_set_and_an_unknown_one_refused_with_the_known_ones():
    assert {record.split for record in divided("all-val")} == {"val"}
    with pytest.raises(UserError, match="no split 'oxford'; there are all-val, random, random-classes, none"):
        divided("oxford")


def test_where_train_and_val_have_but_a_common_list_all_of_it_trains(tmp_path):
    lists = {"trainval": b"001.A\n004.B\n", "test": b"\xef\xbb\xbf002.C_3\r\n", "train": b"001.A\n", "val": b"004.B\n"}
    for names, split_of_4 in ((["trainval", "test"], "train"), ([*lists], "val")):
        write_archive(tmp_path / "x.tgz", {f"./reed/{name}classes.txt": lists[name] for name in names})
        assert splits.read_class_lists(tmp_path / "x.tgz") == {1: "train", 4: split_of_4, 2: "test"}
