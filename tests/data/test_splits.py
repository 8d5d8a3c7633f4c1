"""Seeded divisions: stratified, disjoint, the same for a seed."""

from collections import Counter

import pytest

from textbloom.core.errors import UserError
from textbloom.data import splits
from textbloom.data.base import Entry, Record

SIZES = {3: 40, 7: 10, 8: 1, 11: 57, 12: 5, 20: 2}


def entries() -> list[Entry]:
    classes = [class_id for class_id, size in SIZES.items() for _ in range(size)]
    return [Entry(id_, class_id, ("a flower",)) for id_, class_id in enumerate(classes, start=1)]


def unpublished(how, entries):
    raise AssertionError("a division of our own asks no publisher")


def divided(how: str, seed: int = 1, of: list[Entry] | None = None) -> list[Record]:
    return splits.divide(entries() if of is None else of, how, seed, unpublished)


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


def test_any_other_name_is_the_publishers_own():
    def published(how, entries):
        assert how == "oxford"
        return {entry.image_id: "val" for entry in entries}

    assert {record.split for record in splits.divide(entries(), "oxford", 1, published)} == {"val"}
