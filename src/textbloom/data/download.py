"""Fetching published files with pooch: whole and checked, or not at all.

A data set may be published as several sets of files, of which the first that can be had is taken; each file has
addresses that are tried in turn, or comes from a mirror of one's own.
"""

import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gdown
import pooch
import requests
from gdown.exceptions import DownloadError
from pooch.utils import unique_file_name

from textbloom.core.errors import FULL, UserError
from textbloom.core.files import refuse_pointer
from textbloom.core.progress import progress
from textbloom.data.base import Options

DRIVE = "https://drive.google.com/"  # whose large files only gdown can get

pooch.get_logger().setLevel("WARNING")  # the progress bar says the rest


@dataclass(frozen=True)
class RemoteFile:
    """A published file: its name, its addresses in the order to try, its published md5 (None: none was published)."""

    name: str
    addresses: tuple[str, ...]
    md5: str | None


@dataclass(frozen=True)
class FileSet:
    """Files that make a data set together, the one hardest to get first; the `extras` may be absent."""

    files: tuple[RemoteFile, ...]
    extras: tuple[RemoteFile, ...] = ()


class _Unavailable(Exception):
    """A file that no address delivers, with why for each address."""


def fetch(sets: Sequence[FileSet], folder: Path, options: Options) -> dict[str, str]:
    """Fetch the files of the first set that can be had into `folder`; returns the address of each, by its name.

    With checksums `published` a file must have its published md5, where there is one. Whole files of a run that did not
    get all of them stay in `options.keep`, so that the next run need not fetch them again.

    Prints a line for a set passed over and for an extra left out. Raises UserError, naming every file and address and
    how to place the files by hand, when no set can be had.
    """
    failures: list[str] = []
    for wanted in sets:
        try:
            fetched = {file.name: _fetch(file, options) for file in wanted.files}
        except _Unavailable as failure:
            failures.append(str(failure))
            continue
        for failed in failures:
            print(f"{failed}; {', '.join(file.name for file in wanted.files)} in its place")
        for file in wanted.extras:
            try:
                fetched[file.name] = _fetch(file, options)
            except _Unavailable as failure:
                print(f"{failure}; the data set comes without it")
        for name, (path, _) in fetched.items():
            shutil.move(path, folder / name)
        shutil.rmtree(options.keep)
        return {name: address for name, (_, address) in fetched.items()}
    by_hand = "; or else ".join(
        ", ".join(f"{file.name} ({' or '.join(file.addresses)})" for file in (*each.files, *each.extras))
        for each in sets
    )
    raise UserError(
        f"{'; '.join(failures)}. To place files by hand, put {by_hand} into one folder and run "
        "`make repro SET=data.mirror=<that folder>`; data.checksums=recorded beside it accepts files that differ from "
        "the published ones"
    )


def _fetch(file: RemoteFile, options: Options) -> tuple[Path, str]:
    """Where the whole file lies now, and the address that it came from. Raises _Unavailable."""
    addresses = file.addresses if options.mirror is None else (_in_mirror(options.mirror, file.name),)
    md5 = file.md5 if options.checksums == "published" else None
    reasons: list[str] = []
    for address in addresses:
        try:
            return _from(address, file.name, md5, options), address
        except (DownloadError, OSError, ValueError) as error:  # those of requests are kinds of OSError
            if getattr(error, "errno", None) in FULL:
                raise
            reasons.append(f"{address} ({_reason(error)})")
    raise _Unavailable(f"{file.name} could not be fetched from {' nor from '.join(reasons)}")


def _in_mirror(mirror: str, name: str) -> str:
    if _is_url(mirror):
        return f"{mirror.rstrip('/')}/{name}"
    folder = Path(mirror).expanduser()
    if not folder.is_dir():
        raise UserError(f"data.mirror: expected a folder, or a URL that begins with http, got {mirror!r}")
    return str(folder / name)


def _is_url(address: str) -> bool:
    return address.startswith(("http://", "https://"))


def _from(address: str, name: str, md5: str | None, options: Options) -> Path:
    """Fetch one file from one address into `options.keep`, unless it lies there already: by address, and checked."""
    local = not _is_url(address)
    kept = unique_file_name(address)
    if local:
        (options.keep / kept).unlink(missing_ok=True)  # the person may have put another file there since

    # A total, even a wrong one, because a bar without one has no truth value, and pooch asks for it.
    with progress(None, name, "B", total=1) as bar:
        bar.unit_scale = True

        def download(address: str, output: str, _: object) -> None:
            bar.reset()
            if local:
                refuse_pointer(address)
                shutil.copyfile(address, output)
            elif address.startswith(DRIVE):
                _download_from_drive(address, output, bar, options)
            else:
                pooch.HTTPDownloader(progressbar=bar, chunk_size=2**18, timeout=options.timeout)(address, output, None)
            _refuse_a_page(Path(output))

        # pooch writes under a temporary name, checks the hash, renames, and tries again.
        files = pooch.create(
            options.keep,
            base_url="",
            registry={kept: md5 and f"md5:{md5}"},
            urls={kept: address},
            retry_if_failed=0 if local else options.retries,
        )
        return Path(files.fetch(kept, downloader=download))


def _download_from_drive(address: str, output: str, bar: Any, options: Options) -> None:
    def show(count: int, total: int | None) -> None:
        bar.total = total
        bar.update(count - bar.n)

    with open(output, "wb") as file:  # given a path, gdown would leave half a file beside it when it fails
        gdown.download(address, file, quiet=True, use_cookies=False, timeout=options.timeout, progress=show)


def _refuse_a_page(path: Path) -> None:
    """Raise ValueError for a page, such as one that says "quota exceeded", and for a file without content."""
    with open(path, "rb") as file:
        if file.read(1) in (b"<", b""):
            raise ValueError("it served a web page or nothing instead of the file")


def _reason(error: Exception) -> str:
    """Why an address failed, in a few words."""
    # requests wraps a stall in the middle of a body in a ConnectionError.
    if isinstance(error, requests.Timeout) or "timed out" in str(error):
        return "no answer in time"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the connection closed before the end"
    if isinstance(error, requests.ConnectionError):
        return "no connection"
    if hashes := re.search(r"expected md5:(\w+) but got (\w+)", str(error)):
        return f"md5 {hashes[2]} instead of the published {hashes[1]}"
    return " ".join(str(error).split(" for url")[0].split())
