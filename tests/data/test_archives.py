import gzip
import random
import re
import stat
import tarfile
import warnings
import zipfile
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


def header(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, link
    return member


@pytest.mark.parametrize("kind", WRITERS)
def test_members_come_whole_and_in_the_order_of_the_archive(tmp_path, kind):
    path = tmp_path / f"x.{kind}"
    WRITERS[kind](path, CONTENTS)
    assert list(read(path).items()) == list(CONTENTS.items())


@pytest.mark.parametrize("kind", WRITERS)
def test_only_members_whose_whole_name_is_wanted_are_given(tmp_path, kind):
    path = tmp_path / f"x.{kind}"
    WRITERS[kind](path, CONTENTS)
    assert [match[1] for match, _ in archives.members(path, re.compile(r"a/(t\w+)\.txt"))] == ["two", "three"]
    assert list(archives.members(path, re.compile("two"))) == []


@pytest.mark.parametrize(
    "member",
    [
        header("/etc/passwd"),
        header("../outside.txt"),
        header("a/../../outside.txt"),
        header("..\\outside.txt"),
        header("C:/outside.txt"),
        header("link", tarfile.SYMTYPE, "/etc/passwd"),
        header("link", tarfile.SYMTYPE, "one.txt"),
        header("link", tarfile.LNKTYPE, "../outside.txt"),
        header("pipe", tarfile.FIFOTYPE),
        header("disk", tarfile.BLKTYPE),
        header("terminal", tarfile.CHRTYPE),
    ],
    ids=lambda member: f"{member.name} {member.linkname}",
)
def test_what_could_reach_out_of_the_archive_is_refused_by_name(tmp_path, member):
    path = tmp_path / "x.tgz"
    write_archive(path, [(header("a/one.txt"), b"first"), (member, b"")])
    with pytest.raises(UserError, match=re.escape(repr(member.name))) as caught:
        read(path)
    assert "x.tgz" in str(caught.value)


@pytest.mark.parametrize("kind", WRITERS)
def test_an_archive_that_is_cut_is_refused(tmp_path, kind):
    path = tmp_path / f"x.{kind}"
    WRITERS[kind](path, CONTENTS)
    whole = path.read_bytes()
    for length in {*range(0, len(whole), 5), *range(len(whole) - 30, len(whole))}:
        path.write_bytes(whole[:length])
        with pytest.raises(UserError, match=rf"x\.{kind} is damaged"):
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
    with pytest.raises(UserError, match=r"x\.tgz is damaged at last\.bin .*dvc repro --force download"):
        read(path)


def test_a_web_page_under_an_archives_name_is_refused(tmp_path):
    path = tmp_path / "x.tgz"
    path.write_text("<html>quota exceeded</html>")
    with pytest.raises(UserError, match=r"x\.tgz is damaged at its start"):
        read(path)


def test_a_missing_archive_is_named(tmp_path):
    with pytest.raises(UserError, match=r"x\.tgz is missing"):
        read(tmp_path / "x.tgz")


def test_a_member_too_long_for_a_photo_is_refused_before_it_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "MEMBER_BYTES", 1000)
    path = tmp_path / "x.tgz"
    write_archive(path, {"long.jpg": bytes(1001)})
    with pytest.raises(UserError, match=r"'long\.jpg'"):
        read(path)
    write_archive(path, {"fits.jpg": bytes(1000)})
    assert read(path) == {"fits.jpg": bytes(1000)}


@pytest.mark.parametrize("wanted", [ANY, re.compile("nothing")], ids=["read", "passed over"])
def test_a_bomb_stops_at_the_permitted_ratio_whether_its_members_are_read_or_passed_over(tmp_path, wanted):
    path = tmp_path / "x.tgz"
    write_archive(path, {f"zeros{number}": bytes(8 * 2**20) for number in range(4)})
    with pytest.raises(UserError, match=r"x\.tgz unpacks to more than 16 MiB"):
        list(archives.members(path, wanted))


def test_bytes_after_the_tars_end_count_towards_a_bomb(tmp_path):
    path = tmp_path / "x.tgz"
    write_archive(path, CONTENTS)
    with gzip.open(path, "ab") as file:
        file.write(bytes(17 * 2**20))
    with pytest.raises(UserError, match="decompression bomb"):
        read(path)


def zipped(name: str, mode: int = 0) -> zipfile.ZipInfo:
    member = zipfile.ZipInfo(name)
    member.external_attr = mode << 16
    return member


@pytest.mark.parametrize(
    "member",
    [
        zipped("/etc/passwd"),
        zipped("../outside.txt"),
        zipped("a/../../outside.txt"),
        zipped("..\\outside.txt"),
        zipped("C:/outside.txt"),
        zipped("link", stat.S_IFLNK | 0o777),
        zipped("pipe", stat.S_IFIFO),
        zipped("disk", stat.S_IFBLK),
    ],
    ids=lambda member: f"{member.filename} {member.external_attr >> 16:o}",
)
def test_what_could_reach_out_of_a_zip_is_refused_by_name_wanted_or_not(tmp_path, member):
    path = tmp_path / "x.zip"
    write_zip(path, [(zipped("a/one.txt"), b"first"), (member, b"/etc/passwd")])
    with pytest.raises(UserError, match=re.escape(repr(member.filename))) as caught:
        list(archives.members(path, re.compile(r"a/one\.txt")))
    assert "x.zip" in str(caught.value)


def test_folders_and_modes_of_honest_zips_pass(tmp_path):
    path = tmp_path / "x.zip"
    write_zip(path, [(zipped("a/", stat.S_IFDIR | 0o755), b""), (zipped("a/one.txt", stat.S_IFREG | 0o644), b"first")])
    assert read(path) == {"a/one.txt": b"first"}


@pytest.mark.parametrize("kind", WRITERS)
def test_two_members_of_one_name_are_refused(tmp_path, kind):
    path = tmp_path / f"x.{kind}"
    headers = {"tgz": header, "zip": zipped}[kind]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # zipfile warns of the second name
        WRITERS[kind](path, [(headers("one.txt"), b"first"), (headers("one.txt"), b"second")])
    with pytest.raises(UserError, match=r"'one\.txt' is there twice"):
        read(path)


def test_a_changed_byte_never_changes_what_is_read_of_a_zip(tmp_path):
    path = tmp_path / "x.zip"
    write_zip(path, CONTENTS)
    whole = path.read_bytes()
    refused = 0
    for position in range(len(whole)):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 1 << position % 8]) + whole[position + 1 :])
        try:
            # times, versions and attributes stand there twice or matter to no content
            assert read(path) == CONTENTS
        except UserError:
            refused += 1
    assert refused > 0.5 * len(whole)


def test_a_zip_bomb_stops_at_the_permitted_ratio_before_it_is_unpacked(tmp_path):
    path = tmp_path / "x.zip"
    write_zip(path, {f"zeros{number}": bytes(8 * 2**20) for number in range(4)})
    given = []
    with pytest.raises(UserError, match=r"x\.zip unpacks to more than 16 MiB"):
        given.extend(match[0] for match, _ in archives.members(path, ANY))
    assert given == ["zeros0", "zeros1"]


def test_a_member_of_a_zip_too_long_for_a_photo_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "MEMBER_BYTES", 1000)
    path = tmp_path / "x.zip"
    write_zip(path, {"long.jpg": bytes(1001)})
    with pytest.raises(UserError, match=r"'long\.jpg'"):
        read(path)
