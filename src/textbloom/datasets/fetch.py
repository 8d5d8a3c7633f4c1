"""Fetching published files: several addresses in turn, each file checked while it arrives, whole or absent."""

import contextlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import gdown
import pooch
import requests
from gdown.exceptions import DownloadError

from textbloom.datasets.arrival import Arrival, Refused
from textbloom.datasets.base import RemoteFile
from textbloom.errors import UserError
from textbloom.files import replacing, write_json

TIMEOUT = (10.0, 30.0)  # seconds to connect, seconds without a byte

_CHUNK = 2**18
_DRIVE = "https://drive.google.com/"


@dataclass(frozen=True)
class Entry:
    """A file as it arrived, for manifest.json: where from, its size, its hash."""

    source: str
    bytes: int
    sha256: str


def fetch_all(
    files: Sequence[RemoteFile],
    folder: Path,
    keep: Path,
    mirror: str | None,
    checksums: str,
    timeout: tuple[float, float] = TIMEOUT,
) -> dict[str, Entry]:
    """Fetch every file into `folder`; returns what arrived, by name.

    mirror: base URL or local folder that holds the files under their names; None: their published addresses.
    checksums: published demands the published md5 where there is one; recorded accepts what the mirror holds.
    keep: folder for whole files of a run that did not fetch all, so that the next run need not fetch them again.
    timeout: seconds to connect, seconds without a byte.

    Raises UserError, naming file, addresses and how to place it by hand, when no address delivers one.
    """
    entries = {}
    for file in files:
        addresses = file.addresses if mirror is None else (_at(mirror, file.name),)
        md5 = file.md5 if checksums == "published" else None
        entries[file.name] = _kept(keep / file.name, addresses, md5) or _from_any(
            addresses, keep / file.name, md5, timeout, [each.name for each in files]
        )
    for file in files:
        shutil.move(keep / file.name, folder / file.name)
        _note(keep / file.name).unlink()
    return entries


def _at(mirror: str, name: str) -> str:
    if re.match(r"https?://", mirror):
        return f"{mirror.rstrip('/')}/{name}"
    if "://" in mirror:
        raise UserError(f"data.mirror: expected http://, https:// or a folder, got {mirror!r}")
    if not Path(mirror).expanduser().is_dir():
        raise UserError(f"data.mirror: {mirror} is no folder: correct the path, or give a URL that begins with http")
    return str(Path(mirror).expanduser() / name)


def _note(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")


def _kept(path: Path, addresses: Sequence[str], md5: str | None) -> Entry | None:
    """What an earlier run fetched from one of these addresses, if it is still as it arrived."""
    try:
        entry = Entry(**json.loads(_note(path).read_text(encoding="utf-8")))
        if entry.source in addresses and pooch.file_hash(str(path), "sha256") == entry.sha256:
            return entry if md5 in (None, pooch.file_hash(str(path), "md5")) else None
    except (OSError, ValueError, TypeError):
        pass
    return None


def _from_any(
    addresses: Sequence[str], path: Path, md5: str | None, timeout: tuple[float, float], names: Sequence[str]
) -> Entry:
    failures = []
    for address in addresses:
        try:
            entry = _from(address, path, md5, timeout)
        except Refused as reason:
            failures.append(f"{address} ({reason})")
        else:
            write_json(_note(path), asdict(entry))
            return entry
    raise UserError(
        f"{path.name} could not be fetched from {' nor from '.join(failures)}. To place it by hand, put "
        f"{', '.join(names)} into one folder and run `make repro SET=data.mirror=<that folder>`; "
        "data.checksums=recorded beside it accepts files that differ from the published ones"
    )


def _from(address: str, path: Path, md5: str | None, timeout: tuple[float, float]) -> Entry:
    with replacing(path) as temporary, open(temporary, "wb") as file, Arrival(path.name, file) as arrival:
        with _reasons(timeout):
            _transfer(address, arrival, timeout)
        arrival.finish(md5)
        return Entry(address, arrival.count, arrival.sha256.hexdigest())


def _transfer(address: str, arrival: Arrival, timeout: tuple[float, float]) -> None:
    if address.startswith(_DRIVE):
        gdown.download(
            address,
            arrival,  # type: ignore[arg-type]  # it only writes and flushes
            quiet=True,
            use_cookies=False,
            timeout=timeout,
            progress=lambda _, total: arrival.expect(total),
        )
    elif re.match(r"https?://", address):
        download = pooch.HTTPDownloader(
            chunk_size=_CHUNK,
            timeout=timeout,
            # Compressed in transit, a file's length would not be the announced one.
            headers={"Accept-Encoding": "identity"},
            hooks={"response": arrival.expect_response},
        )
        download(address, arrival, None)
    else:
        with open(address, "rb") as source:
            arrival.expect(os.fstat(source.fileno()).st_size)
            shutil.copyfileobj(source, arrival, _CHUNK)


@contextlib.contextmanager
def _reasons(timeout: tuple[float, float]) -> Iterator[None]:
    """Say in a few words why an address did not deliver."""
    try:
        yield
    except requests.HTTPError as error:
        raise Refused(str(error).split(" for url")[0]) from None
    except requests.ConnectTimeout:
        raise Refused(f"no connection within {timeout[0]:g} s") from None
    except requests.Timeout:
        raise Refused(f"no data for {timeout[1]:g} s") from None
    except requests.exceptions.ChunkedEncodingError:
        raise Refused("the connection closed before the end") from None
    except requests.ConnectionError as error:
        # requests wraps a stall in the middle of a body in a ConnectionError
        stalled = "timed out" in str(error).lower()
        raise Refused(f"no data for {timeout[1]:g} s" if stalled else "no connection") from None
    # ValueError: a header that makes no sense
    except (requests.RequestException, DownloadError, ValueError) as error:
        raise Refused(" ".join(str(error).split())) from None
    except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
        raise Refused(error.strerror) from None
