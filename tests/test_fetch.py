import contextlib
import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import tiny_flowers as tiny
from hostile_server import Server, serving

from textbloom.core.errors import UserError
from textbloom.data import arrival, fetch, flowers102, transfer
from textbloom.data.base import RemoteFile
from textbloom.data.obtain import Drawing, Fetching, Packing, obtain
from textbloom.data.sources import Source

# random bytes behind the first two of a gzip file; larger than any buffer on the way
WHOLE = b"\x1f\x8b" + hashlib.shake_256(b"archive").digest(2 * 2**20)
MD5 = hashlib.md5(WHOLE).hexdigest()
QUICK = transfer.Patience(connection=2, byte=0.5, chunk=60)


@pytest.fixture
def server(monkeypatch) -> Iterator[Server]:
    """Serves WHOLE under every name; the first folder of the path is what goes wrong."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serving(lambda path: (path.split("/")[1], WHOLE)) as running:
        yield running


def url(server: Server, fault: str) -> str:
    return server.url(f"{fault}/x.tgz")


class Place:
    """The two folders that a fetch writes into."""

    def __init__(self, root: Path) -> None:
        self.folder, self.keep = root / "raw", root / "keep"
        self.folder.mkdir()

    def get(self, *addresses: str, md5: str | None = None, **options: object) -> dict[str, fetch.Entry]:
        return self.get_all([RemoteFile("x.tgz", addresses, md5)], **options)

    def get_all(self, files, mirror=None, checksums="published", patience=QUICK) -> dict[str, fetch.Entry]:
        return fetch.fetch_all(files, self.folder, self.keep, mirror, checksums, patience)

    @property
    def files(self) -> list[str]:
        return sorted(path.name for path in [*self.folder.rglob("*"), *self.keep.rglob("*")])


@pytest.fixture
def place(tmp_path) -> Place:
    return Place(tmp_path)


@pytest.mark.parametrize("how", ["whole", "moved", "claims-nothing", "squeezes"])
def test_a_sound_server_delivers_the_file_and_its_record(server, place, how):
    entries = place.get(url(server, how), md5=MD5)
    assert (place.folder / "x.tgz").read_bytes() == WHOLE
    assert entries == {"x.tgz": fetch.Entry(url(server, how), len(WHOLE), hashlib.sha256(WHOLE).hexdigest())}
    assert place.files == ["x.tgz"]


FAULTS = {
    "404": "404",
    "500": "500",
    "page": "web page",
    "nothing": "empty",
    "early": "closed before the end",
    "claims-more": "closed before the end",
    "claims-less": "md5",
    "claims-nonsense": "",
    "swapped": "md5",
    "stall": "no data for 0.5 s",
}


@pytest.mark.parametrize(("fault", "reason"), FAULTS.items())
def test_a_misbehaving_server_is_named_with_the_way_out_and_leaves_nothing_behind(server, place, fault, reason):
    with pytest.raises(UserError) as caught:
        place.get(url(server, fault), md5=MD5)
    message = str(caught.value)
    assert "x.tgz" in message and url(server, fault) in message and reason in message
    assert "SET=data.mirror=<that folder>" in message and "\n" not in message
    assert place.files == []


@pytest.mark.parametrize("fault", FAULTS)
def test_the_next_address_makes_up_for_a_bad_one(server, place, fault):
    entries = place.get(url(server, fault), url(server, "whole"), md5=MD5)
    assert entries["x.tgz"].source == url(server, "whole")
    assert (place.folder / "x.tgz").read_bytes() == WHOLE


@pytest.mark.parametrize("library", ["pooch", "gdown"])
def test_a_server_that_drips_for_ever_is_given_up_for_the_next_url(server, place, monkeypatch, library):
    if library == "gdown":
        monkeypatch.setattr(transfer, "_DRIVE", f"http://127.0.0.1:{server.server_port}/drip")
    # WHOLE's other half would take hours; each byte comes well before the limit between bytes
    hasty = QUICK._replace(chunk=0.3)
    with pytest.raises(UserError, match=r"too slow, less than one chunk in 0\.3 s"):
        place.get(url(server, "drip"), patience=hasty)
    entries = place.get(url(server, "drip"), url(server, "whole"), patience=hasty)
    assert entries["x.tgz"].source == url(server, "whole")
    assert place.files == ["x.tgz"]


def test_a_drip_that_hides_its_length_is_not_taken_for_whole_when_it_is_cut_off(server, place):
    with pytest.raises(UserError, match="too slow"):
        place.get(url(server, "drip-without-length"), patience=QUICK._replace(chunk=0.3))
    assert place.files == []


def test_without_a_connection_every_address_is_named(place):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # bound but not listening: connections are refused
        addresses = [f"http://127.0.0.1:{closed.getsockname()[1]}/{name}/x.tgz" for name in ("one", "two")]
        with pytest.raises(UserError) as caught:
            place.get(*addresses)
    assert all(f"{address} (no connection)" in str(caught.value) for address in addresses)


def test_a_wrong_md5_names_both_and_recorded_accepts_the_file(server, place):
    published = "0" * 32
    with pytest.raises(UserError, match=f"md5 {MD5} instead of the published {published}.*data.checksums=recorded"):
        place.get(url(server, "whole"), md5=published)
    assert place.get(url(server, "whole"), md5=published, checksums="recorded")["x.tgz"].bytes == len(WHOLE)


def test_a_file_too_large_for_the_disk_is_refused_before_its_first_byte(server, place, monkeypatch):
    usage = arrival.shutil.disk_usage(place.folder)
    room = usage._replace(free=len(WHOLE) + arrival.SPARE_BYTES - 1)
    monkeypatch.setattr(arrival.shutil, "disk_usage", lambda _: room)
    written: list[bytes] = []
    monkeypatch.setattr(arrival.Arrival, "write", lambda _, chunk: written.append(chunk))
    with pytest.raises(UserError, match=r"x\.tgz .* MB free"):
        place.get(url(server, "whole"))
    assert written == [] and place.files == []


def test_a_file_shorter_or_longer_than_announced_is_refused(tmp_path):
    for announced in (99, 101):
        with open(tmp_path / "x", "wb") as file, arrival.Arrival("x", file) as arriving:
            arriving.expect(announced)
            arriving.write(bytes(100))
            with pytest.raises(arrival.Refused, match=f"100 of {announced} bytes"):
                arriving.finish(md5=None)


def test_whole_files_of_an_unfinished_run_are_not_fetched_again(server, place):
    good, bad = (url(server, "whole"),), (url(server, "404"),)
    with pytest.raises(UserError):
        place.get_all([RemoteFile("a.tgz", good, None), RemoteFile("b.tgz", bad, None)])
    assert list(place.folder.iterdir()) == []
    server.asked.clear()
    place.get_all([RemoteFile("a.tgz", good, None), RemoteFile("b.tgz", good, None)])
    assert server.asked == ["/whole/x.tgz"]
    assert place.files == ["a.tgz", "b.tgz"]


@pytest.mark.parametrize("harm", ["file changed", "note cut", "other address", "other md5"])
def test_a_kept_file_in_doubt_is_fetched_again(server, place, harm):
    good = url(server, "whole")
    with pytest.raises(UserError):
        place.get_all([RemoteFile("a.tgz", (good,), None), RemoteFile("b.tgz", (url(server, "404"),), None)])
    if harm == "file changed":
        (place.keep / "a.tgz").write_bytes(WHOLE[:-1])
    elif harm == "note cut":
        (place.keep / "a.tgz.json").write_text('{"source": "')
    address = url(server, "claims-nothing") if harm == "other address" else good
    server.asked.clear()
    with contextlib.suppress(UserError):
        place.get_all([RemoteFile("a.tgz", (address,), "0" * 32 if harm == "other md5" else None)])
    assert len(server.asked) == 1


def test_a_drive_address_goes_through_gdown_into_the_same_checks(server, place, monkeypatch):
    monkeypatch.setattr(transfer, "_DRIVE", f"http://127.0.0.1:{server.server_port}/")
    assert place.get(url(server, "whole"), md5=MD5)["x.tgz"].bytes == len(WHOLE)
    assert (place.folder / "x.tgz").read_bytes() == WHOLE
    for fault in ("404", "500", "page", "early", "claims-more", "swapped", "stall"):
        with pytest.raises(UserError, match="could not be fetched"):
            place.get(url(server, fault), md5=MD5)
    assert place.files == ["x.tgz"]


def test_a_mirror_is_asked_for_the_published_name_and_nobody_else_is(server, place):
    file = RemoteFile("x.tgz", (url(server, "404"),), MD5)
    for mirror in (f"http://127.0.0.1:{server.server_port}/whole", f"http://127.0.0.1:{server.server_port}/whole/"):
        place.get_all([file], mirror=mirror)
    assert server.asked == ["/whole/x.tgz"] * 2


def test_a_folder_serves_as_a_mirror_and_keeps_its_files(place, tmp_path):
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    (mirror / "x.tgz").write_bytes(WHOLE)
    place.get("http://unused.invalid/x.tgz", md5=MD5, mirror=str(mirror))
    assert (place.folder / "x.tgz").read_bytes() == (mirror / "x.tgz").read_bytes() == WHOLE
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
from textbloom.data import base, fetch
file = base.RemoteFile("x.tgz", (sys.argv[1],), None)
fetch.fetch_all([file], Path(sys.argv[2]), Path(sys.argv[3]), None, "recorded")
"""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1] / "src")}
    arguments = [sys.executable, "-c", code, url(server, "stall"), str(place.folder), str(place.keep)]
    with subprocess.Popen(arguments, env=environment, stderr=subprocess.DEVNULL) as process:
        assert server.stalled.wait(60)
        while not any(path.stat().st_size for path in place.keep.rglob("*")):
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
    assert not (place.keep / "x.tgz").exists() and not (place.folder / "x.tgz").exists()
    place.get(url(server, "stall"), url(server, "whole"))
    assert (place.folder / "x.tgz").read_bytes() == WHOLE
    assert place.files == ["x.tgz"]


def source_of(*names: str, at: str, extras: tuple[RemoteFile, ...] = ()) -> Source:
    return Source(tuple(RemoteFile(name, (at.replace("x.tgz", name),), None) for name in names), extras)


def first(place: Place, *sources: Source, mirror: str | None = None) -> list[str]:
    return list(fetch.fetch_first(sources, place.folder, place.keep, mirror, "published", QUICK))


def test_the_second_source_makes_up_for_a_file_that_the_first_lacks(server, place, capsys):
    bad = Source((*source_of("a.tgz", at=url(server, "whole")).files, *source_of("b.tgz", at=url(server, "404")).files))
    assert first(place, bad, source_of("c.tgz", at=url(server, "whole"))) == ["c.tgz"]
    # what came of the first source is not left lying about
    assert place.files == ["c.tgz"]
    printed = capsys.readouterr().out
    assert "b.tgz could not be fetched" in printed and "c.tgz in its place" in printed


def test_the_first_source_is_preferred_and_the_second_not_even_asked(server, place):
    assert first(place, source_of("a.tgz", at=url(server, "whole")), source_of("c.tgz", at=url(server, "404"))) == [
        "a.tgz"
    ]
    assert server.asked == ["/whole/a.tgz"]


def test_when_no_source_can_be_had_one_line_names_every_file_and_url(server, place):
    extra = RemoteFile("e.mat", (url(server, "500"),), None)
    sources = (
        Source(tuple(RemoteFile(name, (url(server, f"404/{name}"),), None) for name in ("a.tgz", "b.tgz"))),
        source_of("c.tgz", at=url(server, "500"), extras=(extra,)),
    )
    with pytest.raises(UserError) as caught:
        first(place, *sources)
    message = str(caught.value)
    for file in (*sources[0].files, *sources[1].files):
        assert file.name in message and file.addresses[0] in message
    assert "e.mat" in message and "SET=data.mirror=<that folder>" in message and "\n" not in message
    assert place.files == []


def test_an_extra_that_cannot_be_had_is_left_out_with_a_line(server, place, capsys):
    extras = (
        RemoteFile("e.tgz", (url(server, "404"),), None),
        RemoteFile("f.tgz", (url(server, "whole"),), None),
    )
    assert first(place, source_of("c.tgz", at=url(server, "whole"), extras=extras)) == ["c.tgz", "f.tgz"]
    assert f"e.tgz could not be fetched from {url(server, '404')}" in capsys.readouterr().out
    assert place.files == ["c.tgz", "f.tgz"]


@pytest.mark.parametrize("held", ["ab", "c", "abc", "ac"])
def test_either_set_in_a_mirror_folder_suffices(place, tmp_path, held):
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    for letter in held:
        (mirror / f"{letter}.tgz").write_bytes(WHOLE)
    sources = (
        source_of("a.tgz", "b.tgz", at="http://unused.invalid/"),
        source_of("c.tgz", at="http://unused.invalid/"),
    )
    wanted = ["a.tgz", "b.tgz"] if "ab" in held else ["c.tgz"]
    assert first(place, *sources, mirror=str(mirror)) == wanted == place.files


def obtained(folder: Path, mirror: Path) -> None:
    fetching = Fetching(str(mirror), "recorded", folder.parent / "keep")
    obtain("flowers102", folder, fetching, Drawing(1, 1), Packing(folder))


def test_a_data_set_comes_with_a_manifest_and_the_same_bytes_each_time(tmp_path):
    mirror = tiny.write(tmp_path / "mirror")
    folder = tmp_path / "raw" / "flowers102"
    obtained(folder, mirror)
    manifest = (folder / "manifest.json").read_bytes()
    files = json.loads(manifest)["files"]
    assert (
        set(files)
        == {file.name for file in flowers102.SOURCES[0].files}
        == {p.name for p in folder.iterdir()} - {"manifest.json"}
    )
    for name, entry in files.items():
        content = (folder / name).read_bytes()
        assert entry == {
            "source": str(mirror / name),
            "bytes": len(content),
            "sha256": hashlib.sha256(content).hexdigest(),
        }
    obtained(folder, mirror)
    assert (folder / "manifest.json").read_bytes() == manifest


@pytest.mark.parametrize("name", [flowers102.PHOTOS, flowers102.CAPTIONS, flowers102.LABELS, flowers102.SETS])
def test_an_unreadable_archive_is_refused_on_arrival_and_the_old_folder_stays(tmp_path, name):
    mirror = tiny.write(tmp_path / "mirror")
    folder = tmp_path / "raw" / "flowers102"
    obtained(folder, mirror)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    content = (mirror / name).read_bytes()
    (mirror / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match=name):
        obtained(folder, mirror)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in folder.parent.iterdir() if path.name != "keep"] == ["flowers102"]
