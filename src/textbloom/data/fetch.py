"""Fetching published files: several sources and addresses in turn, each file whole or absent."""

import json
import re
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pooch

from textbloom.core.errors import UserError
from textbloom.core.files import replacing, write_json
from textbloom.data.arrival import Arrival, Refused
from textbloom.data.base import RemoteFile
from textbloom.data.sources import Source
from textbloom.data.transfer import Patience, transfer

PATIENCE = Patience(connection=10, byte=30, chunk=60)


@dataclass(frozen=True)
class Entry:
    """A file as it arrived, for manifest.json: where from, its size, its hash."""

    source: str
    bytes: int
    sha256: str


class _Failed(Exception):
    """A file that no address delivers: its name, and why for each address."""

    def __init__(self, name: str, reasons: dict[str, str]) -> None:
        tried = " nor from ".join(f"{address} ({reason})" for address, reason in reasons.items())
        super().__init__(f"{name} could not be fetched from {tried}")
        self.addresses = list(reasons)


@dataclass(frozen=True)
class _Way:
    """How files are fetched; `fetch_first` says what the values mean."""

    keep: Path
    mirror: str | None
    checksums: str
    patience: Patience


def fetch_all(
    files: Sequence[RemoteFile],
    folder: Path,
    keep: Path,
    mirror: str | None,
    checksums: str,
    patience: Patience = PATIENCE,
) -> dict[str, Entry]:
    """Fetch every file, as `fetch_first` does with its only source."""
    return fetch_first([Source(tuple(files))], folder, keep, mirror, checksums, patience)


def fetch_first(
    sources: Sequence[Source],
    folder: Path,
    keep: Path,
    mirror: str | None,
    checksums: str,
    patience: Patience = PATIENCE,
) -> dict[str, Entry]:
    """Fetch the files of the first source that can be had into `folder`; returns what arrived, by name.

    mirror: base URL or local folder that holds the files under their names; None: their published addresses.
    checksums: published demands the published md5 where there is one; recorded accepts what the mirror holds.
    keep: folder for whole files of a run that did not fetch all, so that the next run need not fetch them again.

    Prints a line for a source passed over and for an extra left out. Raises UserError, naming every file and address
    and how to place the files by hand, when no source can be had, and when the disk has no room.
    """
    way = _Way(keep, mirror, checksums, patience)
    failures: list[_Failed] = []
    for source in sources:
        try:
            entries = _required(source, way)
        except _Failed as failure:
            failures.append(failure)
            continue
        for passed_over in failures:
            print(f"{passed_over}; {', '.join(file.name for file in source.files)} in its place")
        entries |= _extras(source, way)
        for name in entries:
            shutil.move(keep / name, folder / name)
        _forget(sources, keep)
        return entries
    raise UserError(_by_hand(sources, failures))


def _required(source: Source, way: _Way) -> dict[str, Entry]:
    return {file.name: _fetch(file, way) for file in source.files}


def _extras(source: Source, way: _Way) -> dict[str, Entry]:
    entries = {}
    for file in source.extras:
        try:
            entries[file.name] = _fetch(file, way)
        except _Failed as failure:
            print(f"{failure}; the data set comes without it")
    return entries


def _by_hand(sources: Sequence[Source], failures: Sequence[_Failed]) -> str:
    told = {address for failure in failures for address in failure.addresses}
    sets = []
    for source in sources:
        names = [_with_addresses(file, told) for file in source.files]
        optional = f" (with {' and '.join(file.name for file in source.extras)} if at hand)" if source.extras else ""
        sets.append(", ".join(names) + optional)
    return (
        f"{'; '.join(map(str, failures))}. To place files by hand, put {'; or else '.join(sets)} into one folder and "
        "run `make repro SET=data.mirror=<that folder>`; data.checksums=recorded beside it accepts files that differ "
        "from the published ones"
    )


def _with_addresses(file: RemoteFile, told: set[str]) -> str:
    untold = [address for address in file.addresses if address not in told]
    return f"{file.name} (published at {' and '.join(untold)})" if untold else file.name


def _fetch(file: RemoteFile, way: _Way) -> Entry:
    addresses = file.addresses if way.mirror is None else (_at(way.mirror, file.name),)
    md5 = file.md5 if way.checksums == "published" else None
    path = way.keep / file.name
    return _kept(path, addresses, md5) or _from_any(addresses, path, md5, way.patience)


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


def _forget(sources: Sequence[Source], keep: Path) -> None:
    for source in sources:
        for file in (*source.files, *source.extras):
            (keep / file.name).unlink(missing_ok=True)
            _note(keep / file.name).unlink(missing_ok=True)


def _from_any(addresses: Sequence[str], path: Path, md5: str | None, patience: Patience) -> Entry:
    reasons: dict[str, str] = {}
    for address in addresses:
        try:
            entry = _from(address, path, md5, patience)
        except Refused as reason:
            reasons[address] = str(reason)
        else:
            write_json(_note(path), asdict(entry))
            return entry
    raise _Failed(path.name, reasons)


def _from(address: str, path: Path, md5: str | None, patience: Patience) -> Entry:
    with replacing(path) as temporary, open(temporary, "wb") as file, Arrival(path.name, file) as arrival:
        transfer(address, arrival, patience)
        arrival.finish(md5)
        return Entry(address, arrival.count, arrival.sha256.hexdigest())
