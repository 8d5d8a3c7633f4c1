import random
import re
import struct
import tarfile
from pathlib import Path

import pytest
from support.tiny_flowers import write_archive, write_zip

from textbloom.core.errors import UserError
from textbloom.data import archives

ANY = re.compile(".*", re.DOTALL)
CONTENTS = {"a/one.txt": b"first", "a/two.txt": bytes(range(256)) * 8, "a/three.txt": b""}


WRITERS = {"tgz": write_archive, "zip": write_zip}


def read(path: Path) -> dict[str, bytes]:
    return {match[0]: content for match, content in archives.members(path, ANY)}


@pytest.mark.parametrize("kind", WRITERS)
def test_members_come_whole_and_in_the_order_of_the_archive(tmp_path, kind):
    path = tmp_path / f"x.{kind}"
    WRITERS[kind](path, CONTENTS)
    assert list(read(path).items()) == list(CONTENTS.items())


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
def test_a_member_that_is_neither_file_nor_folder_is_refused(tmp_path, kind):
    odd = tarfile.TarInfo("odd")
    odd.type, odd.linkname = kind, "/etc/passwd"
    write_archive(tmp_path / "x.tgz", [(tarfile.TarInfo("one"), b"first"), (odd, b"")])
    with pytest.raises(UserError, match=r"x\.tgz cannot be read at odd \(it is neither a file nor a folder\)"):
        read(tmp_path / "x.tgz")


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("name", ["../outside.txt", "/etc/passwd", "a/../../b", "C:/b", "..\\b"])
def test_a_name_that_leads_out_of_the_archive_is_refused(tmp_path, kind, name):
    path = tmp_path / f"x.{kind}"
    WRITERS[kind](path, {name: b"first"})
    with pytest.raises(UserError, match="its path leads out of the archive"):
        read(path)


def test_two_members_of_one_name_are_refused(tmp_path):
    write_archive(tmp_path / "x.tgz", [(tarfile.TarInfo("one"), b"first"), (tarfile.TarInfo("one"), b"again")])
    with pytest.raises(UserError, match="cannot be read at one \\(it is there twice"):
        read(tmp_path / "x.tgz")


@pytest.mark.parametrize("kind", WRITERS)
def test_only_members_whose_whole_name_is_wanted_are_given(tmp_path, kind):
    path = tmp_path / f"x.{kind}"
    WRITERS[kind](path, CONTENTS)
    assert [match[1] for match, _ in archives.members(path, re.compile(r"a/(t\w+)\.txt"))] == ["two", "three"]
    assert list(archives.members(path, re.compile("two"))) == []


@pytest.mark.parametrize("kind", WRITERS)
def test_an_archive_that_is_cut_is_refused(tmp_path, kind):
    path = tmp_path / f"x.{kind}"
    WRITERS[kind](path, CONTENTS)
    whole = path.read_bytes()
    for length in {*range(0, len(whole), 5), *range(len(whole) - 30, len(whole))}:
        path.write_bytes(whole[:length])
        with pytest.raises(UserError, match=rf"x\.{kind} cannot be read"):
            read(path)


def test_a_changed_byte_never_changes_what_is_read(tmp_path):
    path = tmp_path / "x.tgz"
    write_archive(path, CONTENTS)
    whole = path.read_bytes()
    refused = 0
    positions = range(0, len(whole), 2)
    for position in positions:
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 0x10]) + whole[position + 1 :])
        try:
            # the gzip header holds a time and a name that no content depends on
            assert read(path) == CONTENTS
        except UserError:
            refused += 1
    assert refused > 0.8 * len(positions)


def test_damage_is_named_with_the_member_where_it_shows(tmp_path):
    path = tmp_path / "x.tgz"
    # random bytes stay as long when compressed, so the cut falls into the last member
    write_archive(path, {"first.bin": b"sound", "last.bin": random.Random(0).randbytes(2**20)})
    path.write_bytes(path.read_bytes()[: 2**19])
    with pytest.raises(UserError, match=r"x\.tgz cannot be read at last\.bin .*dvc repro --force download"):
        read(path)


def test_a_web_page_under_an_archives_name_is_refused(tmp_path):
    path = tmp_path / "x.tgz"
    path.write_text("<html>quota exceeded</html>")
    with pytest.raises(UserError, match=r"x\.tgz cannot be read at its start"):
        read(path)


@pytest.mark.parametrize("kind", WRITERS)
def test_a_member_too_long_for_a_photo_is_refused_before_it_is_read(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(archives, "MEMBER_BYTES", 1000)
    path = tmp_path / f"x.{kind}"
    WRITERS[kind](path, {"long.jpg": bytes(1001)})
    with pytest.raises(UserError, match=r"long\.jpg"):
        read(path)
    WRITERS[kind](path, {"fits.jpg": bytes(1000)})
    assert read(path) == {"fits.jpg": bytes(1000)}


def test_a_changed_byte_never_changes_a_member_of_a_zip(tmp_path):
    path = tmp_path / "x.zip"
    write_zip(path, CONTENTS)
    whole = path.read_bytes()
    refused = 0
    for position in range(len(whole)):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 1 << position % 8]) + whole[position + 1 :])
        try:
            # A lost member shows when photos are held against captions; times and versions matter to no content.
            assert read(path).items() <= CONTENTS.items()
        except UserError:
            refused += 1
    assert refused > 0.5 * len(whole)


def test_a_member_of_a_zip_that_lies_about_its_length_is_not_unpacked_further(tmp_path):
    path = tmp_path / "x.zip"
    write_zip(path, {"zeros": bytes(8 * 2**20)})
    whole = bytearray(path.read_bytes())
    length = struct.pack("<L", 8 * 2**20)
    assert whole.count(length) == 2
    path.write_bytes(whole.replace(length, struct.pack("<L", 100)))
    with pytest.raises(UserError, match=r"x\.zip cannot be read at zeros"):
        read(path)
