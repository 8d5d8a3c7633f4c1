import gzip
import random
import re
import tarfile
from pathlib import Path

import pytest
from tiny_flowers import write_archive

from textbloom.datasets import archives, guards
from textbloom.errors import UserError

ANY = re.compile(".*", re.DOTALL)
CONTENTS = {"a/one.txt": b"first", "a/two.txt": bytes(range(256)) * 8, "a/three.txt": b""}


def read(path: Path) -> dict[str, bytes]:
    return {match[0]: content for match, content in archives.members(path, ANY)}


def header(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, link
    return member


def test_members_come_whole_and_in_the_order_of_the_archive(tmp_path):
    path = tmp_path / "x.tgz"
    write_archive(path, CONTENTS)
    assert list(read(path).items()) == list(CONTENTS.items())


def test_only_members_whose_whole_name_is_wanted_are_given(tmp_path):
    path = tmp_path / "x.tgz"
    write_archive(path, CONTENTS)
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


def test_an_archive_cut_at_any_byte_is_refused(tmp_path):
    path = tmp_path / "x.tgz"
    write_archive(path, CONTENTS)
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(UserError, match=r"x\.tgz is damaged"):
            read(path)


def test_a_changed_byte_never_changes_what_is_read(tmp_path):
    path = tmp_path / "x.tgz"
    write_archive(path, CONTENTS)
    whole = path.read_bytes()
    refused = 0
    for position in range(len(whole)):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 0x10]) + whole[position + 1 :])
        try:
            # the gzip header holds a time and a name that no content depends on
            assert read(path) == CONTENTS
        except UserError:
            refused += 1
    assert refused > 0.8 * len(whole)


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
    monkeypatch.setattr(guards, "MEMBER_BYTES", 1000)
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
