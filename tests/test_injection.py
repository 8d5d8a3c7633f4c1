"""Faults injected between the published files and data/raw: a damaged file is refused or does not matter, never more.

The reader's whole answer (entries, both published splits, every photo) is held against the sound one, and after every
fault a rerun with the sound files must end with the same hashes.
"""

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import tiny_flowers as tiny
from hostile_server import FAULTS, serving

from textbloom.core.errors import UserError
from textbloom.data import flowers102
from textbloom.data.fetch import PATIENCE
from textbloom.data.obtain import Drawing, Fetching, Packing, obtain
from textbloom.data.transfer import Patience

SEEDS = range(3)
# Short only where a fault takes that long, so that a busy machine fails no other case.
HASTE = {
    "stall": PATIENCE._replace(byte=0.5),
    "drip": PATIENCE._replace(chunk=0.5),
    "drip-without-length": PATIENCE._replace(chunk=0.5),
}
FIRST = (flowers102.PHOTOS, flowers102.CAPTIONS, flowers102.LABELS, flowers102.SETS)
SECOND = (flowers102.BOTH, flowers102.LABELS, flowers102.SETS)
EVERY_FILE = [("first", name) for name in FIRST] + [("second", name) for name in SECOND]


def content(folder: Path) -> object:
    """All that the reader gives of a folder."""
    entries = flowers102.entries(folder)
    splits = [flowers102.published_split(folder, how, entries) for how in ("class-disjoint", "oxford")]
    return entries, splits, {photo.image_id: photo.data for photo in flowers102.photos(folder)}


def stored(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def hashes(folder: Path) -> dict[str, str]:
    files = json.loads((folder / "manifest.json").read_bytes())["files"]
    return {name: entry["sha256"] for name, entry in files.items()}


class Bench:
    """A sound copy of one source, a copy to be damaged, and the folder that both are fetched into in turn."""

    def __init__(self, root: Path, source: str) -> None:
        self.sound, self.bad = (
            tiny.write(root / name) if source == "first" else tiny.write_second(root / name, extras=True)
            for name in ("sound", "bad")
        )
        self.folder, self.keep = root / "raw" / "flowers102", root / "keep"
        self.fetch(self.sound)
        self._truth, self._hashes, self._before = content(self.folder), hashes(self.folder), stored(self.folder)

    def fetch(self, mirror: Path | str, patience: Patience = PATIENCE) -> None:
        fetching = Fetching(str(mirror), "recorded", self.keep, patience)
        obtain("flowers102", self.folder, fetching, Drawing(1, 1), Packing(self.folder))

    def survives(self, mirror: Path | str, *names: str, patience: Patience = PATIENCE) -> bool:
        """Check that a fetch either gives what it should or is refused by name; returns whether it was refused."""
        try:
            self.fetch(mirror, patience)
        except UserError as error:
            message = str(error)
            assert any(name in message for name in names) and "\n" not in message
            assert stored(self.folder) == self._before
            refused = True
        else:
            assert content(self.folder) == self._truth
            refused = False
        assert [path.name for path in self.folder.parent.iterdir()] == ["flowers102"]
        self._before = stored(self.folder)
        return refused

    def recovers(self) -> None:
        """Check that the rerun with the sound files ends with the hashes of the first run."""
        self.fetch(self.sound)
        assert hashes(self.folder) == self._hashes and content(self.folder) == self._truth
        self._before = stored(self.folder)


def cut(data: bytes, dice: random.Random) -> bytes:
    return data[: dice.randrange(len(data))]


def flip(data: bytes, dice: random.Random) -> bytes:
    place = dice.randrange(len(data))
    return data[:place] + bytes([data[place] ^ 1 << dice.randrange(8)]) + data[place + 1 :]


def swap(data: bytes, dice: random.Random) -> bytes:
    size = dice.randrange(1, len(data) // 4)
    one, two = sorted((dice.randrange(len(data) // 2 - size), dice.randrange(len(data) // 2, len(data) - size)))
    between = data[one + size : two]
    return data[:one] + data[two : two + size] + between + data[one : one + size] + data[two + size :]


def blank(data: bytes, dice: random.Random) -> bytes:
    place = dice.randrange(len(data) - 16)
    return data[:place] + bytes(16) + data[place + 16 :]


def leave_out(data: bytes, dice: random.Random) -> bytes:
    place = dice.randrange(len(data) - 16)
    return data[:place] + data[place + 16 :]


def append(data: bytes, dice: random.Random) -> bytes:
    return data + dice.randbytes(dice.randrange(1, 1000))


HARMS: list[Callable[[bytes, random.Random], bytes]] = [cut, flip, swap, blank, leave_out, append]


@pytest.mark.parametrize("harm", HARMS, ids=lambda harm: harm.__name__)
@pytest.mark.parametrize(("source", "name"), EVERY_FILE)
def test_a_damaged_file_is_refused_by_name_or_read_as_if_sound(tmp_path, source, name, harm):
    bench = Bench(tmp_path, source)
    whole = (bench.bad / name).read_bytes()
    refused = 0
    for seed in SEEDS:
        (bench.bad / name).write_bytes(harm(whole, random.Random(f"{harm.__name__} {seed}")))
        refused += bench.survives(bench.bad, name)
    # what passes lies in bytes that no content depends on, such as times
    if harm is cut:
        assert refused == len(SEEDS)
    bench.recovers()


@pytest.mark.parametrize("source", ["first", "second"])
def test_files_under_each_others_names_are_refused(tmp_path, source):
    bench = Bench(tmp_path, source)
    names = FIRST if source == "first" else SECOND
    for one, two in [(one, two) for one in names for two in names if one < two]:
        (bench.bad / one).write_bytes((bench.sound / two).read_bytes())
        (bench.bad / two).write_bytes((bench.sound / one).read_bytes())
        # Of an unfinished run, what arrived is kept: here that would mend the fault.
        shutil.rmtree(bench.keep)
        assert bench.survives(bench.bad, one, two)
        for name in (one, two):
            (bench.bad / name).write_bytes((bench.sound / name).read_bytes())
    bench.recovers()


@pytest.fixture
def local(monkeypatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.mark.usefixtures("local")
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("source", ["first", "second"])
def test_a_misbehaving_mirror_is_refused_by_file_and_the_rerun_ends_with_the_same_hashes(tmp_path, source, fault):
    bench = Bench(tmp_path, source)
    for name in FIRST if source == "first" else (flowers102.BOTH,):

        def answer(path: str, name: str = name) -> tuple[str, bytes]:
            asked = bench.sound / path.rpartition("/")[2]
            if not asked.exists():
                return "404", b""
            return fault if asked.name == name else "whole", asked.read_bytes()

        with serving(answer) as server:
            refused = bench.survives(server.url(""), name, patience=HASTE.get(fault, PATIENCE))
        # a length that makes no sense harms no file, nor does a changed byte in the words that MATLAB files begin with
        assert refused or fault in ("claims-nonsense", "swapped")
        bench.recovers()


HOSTILE = {"climbs": "../../evil.jpg", "absolute": "/tmp/evil.jpg", "windows": "..\\evil.jpg", "drive": "C:/evil.jpg"}


@pytest.mark.parametrize("name", HOSTILE.values(), ids=HOSTILE.keys())
@pytest.mark.parametrize("source", ["first", "second"])
def test_a_hostile_name_is_refused_and_nothing_lies_outside(tmp_path, source, name):
    bench = Bench(tmp_path, source)
    if source == "first":
        tiny.write_archive(bench.bad / flowers102.PHOTOS, tiny.photos() | {name: b"evil"})
    else:
        tiny.write_zip(bench.bad / flowers102.BOTH, tiny.photos_and_texts() | {name: b"evil"})
    assert bench.survives(bench.bad, repr(name))
    assert not list(tmp_path.parent.rglob("*evil*"))
    bench.recovers()


@pytest.mark.usefixtures("local")
def test_an_extra_that_a_mirror_fails_to_deliver_is_left_out_and_comes_with_the_rerun(tmp_path):
    bench = Bench(tmp_path, "second")

    def answer(path: str) -> tuple[str, bytes]:
        asked = bench.sound / path.rpartition("/")[2]
        sound = asked.exists() and asked.name != flowers102.LABELS
        return ("whole", asked.read_bytes()) if sound else ("500", b"")

    with serving(answer) as server:
        bench.fetch(server.url(""))
    assert sorted(hashes(bench.folder)) == sorted([flowers102.BOTH, flowers102.SETS])
    bench.fetch(bench.sound)
    assert sorted(hashes(bench.folder)) == sorted(SECOND)
