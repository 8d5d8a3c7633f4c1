"""Fetching from a server of this machine that misbehaves: whole files with their addresses, or one line and nothing."""

import hashlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from support.hostile_server import Server, serving
from support.pictures import POINTER

from textbloom.core.errors import UserError
from textbloom.data import download
from textbloom.data.base import Options
from textbloom.data.download import FileSet, RemoteFile

# Random bytes behind the first two of a gzip file; larger than any buffer on the way.
WHOLE = b"\x1f\x8b" + hashlib.shake_256(b"archive").digest(2 * 2**20)
MD5 = hashlib.md5(WHOLE).hexdigest()


@pytest.fixture
def server(monkeypatch) -> Iterator[Server]:
    """Serves WHOLE under every name; the first folder of the path is what goes wrong."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serving(lambda path: (path.split("/")[1], WHOLE)) as running:
        yield running


def url(server: Server, fault: str, name: str = "x.tgz") -> str:
    return server.url(f"{fault}/{name}")


class Place:
    """The two folders that a fetch writes into."""

    def __init__(self, root: Path) -> None:
        self.folder, self.keep = root / "raw", root / "keep"
        self.folder.mkdir()

    def get(self, *addresses: str, md5: str | None = None, **options) -> dict[str, str]:
        return self.get_sets([FileSet((RemoteFile("x.tgz", addresses, md5),))], **options)

    def get_sets(self, sets: list[FileSet], **options) -> dict[str, str]:
        hasty = Options(self.keep, timeout=(2.0, 0.5), retries=0)
        return download.fetch(sets, self.folder, replace(hasty, **options))

    @property
    def files(self) -> list[str]:
        return sorted(path.name for path in [*self.folder.rglob("*"), *self.keep.rglob("*")])


@pytest.fixture
def place(tmp_path) -> Place:
    return Place(tmp_path)


@pytest.mark.parametrize("how", ["whole", "moved", "claims-nothing", "squeezes"])
def test_a_sound_server_delivers_the_file_and_its_address_is_told(server, place, how):
    assert place.get(url(server, how), md5=MD5) == {"x.tgz": url(server, how)}
    assert (place.folder / "x.tgz").read_bytes() == WHOLE
    assert place.files == ["x.tgz"]


FAULTS = {
    "404": "404",
    "500": "500",
    "page": "a web page or nothing",
    "nothing": "a web page or nothing",
    "early": "closed before the end",
    "claims-more": "closed before the end",
    "claims-less": "md5",
    "claims-nonsense": "",
    "swapped": "md5",
    "stall": "no answer in time",
}


@pytest.mark.parametrize(("fault", "reason"), FAULTS.items())
def test_a_misbehaving_server_is_named_with_the_way_out_and_the_next_address_makes_up_for_it(
    server, place, fault, reason
):
    with pytest.raises(UserError) as caught:
        place.get(url(server, fault), md5=MD5)
    message = str(caught.value)
    assert "x.tgz" in message and url(server, fault) in message and reason in message
    assert "SET=data.mirror=<that folder>" in message and "\n" not in message
    assert place.files == []

    assert place.get(url(server, fault), url(server, "whole"), md5=MD5) == {"x.tgz": url(server, "whole")}
    assert (place.folder / "x.tgz").read_bytes() == WHOLE


def test_an_address_that_failed_is_asked_again(server, place):
    server.answer = lambda path: ("500" if len(server.asked) == 1 else "whole", WHOLE)
    assert place.get(url(server, "x"), md5=MD5, retries=1) == {"x.tgz": url(server, "x")}


def test_without_a_connection_every_address_is_named(place):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # bound but not listening: connections are refused
        addresses = [f"http://127.0.0.1:{closed.getsockname()[1]}/{name}/x.tgz" for name in ("one", "two")]
        with pytest.raises(UserError) as caught:
            place.get(*addresses)
    assert all(f"{address} (no connection)" in str(caught.value) for address in addresses)


def test_a_wrong_md5_is_told_with_the_way_out_and_recorded_accepts_the_file(server, place):
    published = "0" * 32
    with pytest.raises(UserError, match=f"md5 {MD5} instead of the published {published}.*data.checksums=recorded"):
        place.get(url(server, "whole"), md5=published)
    assert place.get(url(server, "whole"), md5=published, checksums="recorded")
    assert (place.folder / "x.tgz").read_bytes() == WHOLE


def test_recorded_takes_no_web_page_for_the_file(server, place):
    with pytest.raises(UserError, match="it served a web page or nothing instead of the file"):
        place.get(url(server, "page"), checksums="recorded")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_no_fault_of_the_address(server, place, monkeypatch):
    monkeypatch.setattr("pooch.HTTPDownloader.__call__", lambda *_, **__: Path("/dev/full").write_bytes(WHOLE))
    with pytest.raises(OSError, match="No space left"):
        place.get(url(server, "whole"), url(server, "whole"))
    assert place.files == []


def test_whole_files_of_an_unfinished_run_are_not_fetched_again(server, place):
    def wanted(fault: str) -> list[FileSet]:
        files = [RemoteFile(f"{name}.tgz", (url(server, how),), MD5) for name, how in (("a", "whole"), ("b", fault))]
        return [FileSet(tuple(files))]

    with pytest.raises(UserError):
        place.get_sets(wanted("404"))
    assert list(place.folder.iterdir()) == []
    (place.keep / "tmp-of-a-kill").write_bytes(b"half")
    server.asked.clear()
    place.get_sets(wanted("moved"))
    assert server.asked == ["/moved/x.tgz", "/whole/x.tgz"]  # the second is where the first one points
    assert place.files == ["a.tgz", "b.tgz"]


@pytest.mark.parametrize("harm", ["file changed", "other address", "other md5"])
def test_a_kept_file_in_doubt_is_fetched_again(server, place, harm):
    good = RemoteFile("a.tgz", (url(server, "whole"),), MD5)
    with pytest.raises(UserError):
        place.get_sets([FileSet((good, RemoteFile("b.tgz", (url(server, "404"),), None)))])
    if harm == "file changed":
        next(place.keep.iterdir()).write_bytes(WHOLE[:-1])
    address = url(server, "claims-nothing") if harm == "other address" else good.addresses[0]
    server.asked.clear()
    if harm == "other md5":
        with pytest.raises(UserError, match="md5"):
            place.get(address, md5="0" * 32)
    else:
        place.get(address, md5=MD5)
    assert len(server.asked) == 1


def test_a_drive_address_goes_through_gdown_into_the_same_checks(server, place, monkeypatch):
    monkeypatch.setattr(download, "DRIVE", f"http://127.0.0.1:{server.server_port}/")
    monkeypatch.setattr("pooch.HTTPDownloader.__call__", None)
    assert place.get(url(server, "whole"), md5=MD5)
    assert (place.folder / "x.tgz").read_bytes() == WHOLE
    for fault in ("404", "page", "early", "claims-more", "swapped", "stall"):
        with pytest.raises(UserError, match="could not be fetched"):
            place.get(url(server, fault), md5=MD5)
    assert place.files == ["x.tgz"]


def test_a_mirror_is_asked_for_the_published_name_and_nobody_else_is(server, place):
    for mirror in (f"http://127.0.0.1:{server.server_port}/whole", f"http://127.0.0.1:{server.server_port}/whole/"):
        place.get(url(server, "404"), md5=MD5, mirror=mirror)
    assert server.asked == ["/whole/x.tgz"] * 2


def test_a_mirror_that_holds_only_a_pointer_of_git_lfs_is_told(place, tmp_path):
    (tmp_path / "x.tgz").write_bytes(POINTER)
    with pytest.raises(UserError, match=r"x\.tgz is only Git LFS's pointer to the file: run `git lfs pull`"):
        place.get("http://unused.invalid/x.tgz", mirror=str(tmp_path))


def test_a_folder_serves_as_a_mirror_and_keeps_its_files(place, tmp_path):
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    for content in (WHOLE, WHOLE[:-1]):  # replaced by the person in between
        (mirror / "x.tgz").write_bytes(content)
        place.get("http://unused.invalid/x.tgz", mirror=str(mirror))
        assert (place.folder / "x.tgz").read_bytes() == (mirror / "x.tgz").read_bytes() == content
    (mirror / "x.tgz").unlink()
    with pytest.raises(UserError, match="No such file"):
        place.get("http://unused.invalid/x.tgz", mirror=str(mirror))


@pytest.mark.parametrize("mirror", ["nowhere/at/all", "ftp://example.org/flowers"])
def test_a_mirror_that_is_neither_folder_nor_url_is_refused_by_its_key(place, mirror):
    with pytest.raises(UserError, match=r"data\.mirror: .*" + mirror):
        place.get("http://unused.invalid/x.tgz", mirror=mirror)


def test_a_fetch_killed_midway_leaves_nothing_that_is_taken_for_whole(server, place):
    code = """
import sys
from pathlib import Path
from textbloom.data.base import Options
from textbloom.data.download import FileSet, RemoteFile, fetch
fetch([FileSet((RemoteFile("x.tgz", (sys.argv[1],), None),))], Path(sys.argv[2]), Options(Path(sys.argv[3])))
"""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "src")}
    arguments = [sys.executable, "-c", code, url(server, "stall"), str(place.folder), str(place.keep)]
    with subprocess.Popen(arguments, env=environment, stderr=subprocess.DEVNULL) as process:
        assert server.stalled.wait(60)
        while not any(path.stat().st_size for path in place.keep.rglob("*")):
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
    assert list(place.folder.iterdir()) == []
    place.get(url(server, "stall"), url(server, "whole"))
    assert (place.folder / "x.tgz").read_bytes() == WHOLE
    assert place.files == ["x.tgz"]


def files(server: Server, **faults: str) -> tuple[RemoteFile, ...]:
    """A file for each letter, with what goes wrong with it."""
    return tuple(RemoteFile(f"{name}.tgz", (url(server, how, f"{name}.tgz"),), None) for name, how in faults.items())


def test_the_first_set_is_preferred_and_the_second_not_even_asked(server, place):
    assert list(place.get_sets([FileSet(files(server, a="whole")), FileSet(files(server, c="404"))])) == ["a.tgz"]
    assert server.asked == ["/whole/a.tgz"]


def test_the_second_set_makes_up_for_a_file_that_the_first_lacks(server, place, capsys):
    bad = FileSet(files(server, a="whole", b="404"))
    assert list(place.get_sets([bad, FileSet(files(server, c="whole"))])) == ["c.tgz"]
    # What came of the first set is not left lying about.
    assert place.files == ["c.tgz"]
    printed = capsys.readouterr().out
    assert "b.tgz could not be fetched" in printed and "c.tgz in its place" in printed


def test_when_no_set_can_be_had_one_line_names_every_file_and_url(server, place):
    sets = [FileSet(files(server, a="404", b="404")), FileSet(files(server, c="500"), extras=files(server, e="500"))]
    with pytest.raises(UserError) as caught:
        place.get_sets(sets)
    message = str(caught.value)
    for file in (*sets[0].files, *sets[1].files):
        assert file.name in message and file.addresses[0] in message
    assert "e.tgz" in message and "SET=data.mirror=<that folder>" in message and "\n" not in message
    assert place.files == []


def test_an_extra_that_cannot_be_had_is_left_out_with_a_line(server, place, capsys):
    wanted = FileSet(files(server, c="whole"), extras=files(server, e="404", f="whole"))
    assert list(place.get_sets([wanted])) == ["c.tgz", "f.tgz"]
    assert "e.tgz could not be fetched from" in capsys.readouterr().out
    assert place.files == ["c.tgz", "f.tgz"]


@pytest.mark.parametrize("held", ["ab", "c", "abc", "ac"])
def test_either_set_in_a_mirror_folder_suffices(server, place, tmp_path, held):
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    for letter in held:
        (mirror / f"{letter}.tgz").write_bytes(WHOLE)
    sets = [FileSet(files(server, a="whole", b="whole")), FileSet(files(server, c="whole"))]
    wanted = ["a.tgz", "b.tgz"] if "ab" in held else ["c.tgz"]
    assert list(place.get_sets(sets, mirror=str(mirror))) == wanted == place.files
    assert server.asked == []
