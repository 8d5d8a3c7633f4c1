"""One address into one arrival, by pooch, by gdown, or as a copy; why it fails is said in a few words."""

import contextlib
import os
import re
import shutil
from collections.abc import Iterator
from typing import NamedTuple

import gdown
import pooch
import requests
from gdown.exceptions import DownloadCancelled, DownloadError

from textbloom.data.arrival import Arrival, Refused
from textbloom.data.pace import Pace

_CHUNK = 2**18  # bytes; gdown's own is twice that
_DRIVE = "https://drive.google.com/"


class Patience(NamedTuple):
    """Seconds to wait for a connection, for the next byte, for the next chunk of 256 KiB (of 512 KiB from Drive)."""

    connection: float
    byte: float
    chunk: float


def transfer(address: str, arrival: Arrival, patience: Patience) -> None:
    """Write what `address`, a URL or a local path, holds into `arrival`. Raises Refused where it does not deliver."""
    if not re.match(r"https?://", address):
        with _reasons(patience), open(address, "rb") as source:
            arrival.expect(os.fstat(source.fileno()).st_size)
            shutil.copyfileobj(source, arrival, _CHUNK)
        return
    with Pace(arrival, patience.chunk) as pace, _reasons(patience):
        (_from_drive if address.startswith(_DRIVE) else _from_server)(address, arrival, patience, pace)


def _from_drive(address: str, arrival: Arrival, patience: Patience, pace: Pace) -> None:
    gdown.download(
        address,
        arrival,  # type: ignore[arg-type]  # it only writes and flushes
        quiet=True,
        use_cookies=False,
        timeout=(patience.connection, patience.byte),
        progress=lambda _, total: arrival.expect(total),
        cancel=pace.slow,
    )


def _from_server(address: str, arrival: Arrival, patience: Patience, pace: Pace) -> None:
    with contextlib.ExitStack() as responses:

        def on_response(response: requests.Response, *_: object, **__: object) -> None:
            responses.callback(response.close)
            pace.on_slow(lambda: _hang_up(response))
            arrival.expect_response(response)

        download = pooch.HTTPDownloader(
            chunk_size=_CHUNK,
            timeout=(patience.connection, patience.byte),
            # Compressed in transit, a file's length would not be the announced one.
            headers={"Accept-Encoding": "identity"},
            hooks={"response": on_response},
        )
        download(address, arrival, None)


def _hang_up(response: requests.Response) -> None:
    with contextlib.suppress(RuntimeError, OSError):  # over already
        response.raw.shutdown()


@contextlib.contextmanager
def _reasons(patience: Patience) -> Iterator[None]:
    try:
        yield
    except requests.HTTPError as error:
        raise Refused(str(error).split(" for url")[0]) from None
    except requests.ConnectTimeout:
        raise Refused(f"no connection within {patience.connection:g} s") from None
    except requests.Timeout:
        raise Refused(f"no data for {patience.byte:g} s") from None
    except requests.exceptions.ChunkedEncodingError:
        raise Refused("the connection closed before the end") from None
    except requests.ConnectionError as error:
        # requests wraps a stall in the middle of a body in a ConnectionError
        stalled = "timed out" in str(error).lower()
        raise Refused(f"no data for {patience.byte:g} s" if stalled else "no connection") from None
    # ValueError: a header that makes no sense
    except (requests.RequestException, DownloadError, DownloadCancelled, ValueError) as error:
        raise Refused(" ".join(str(error).split())) from None
    except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
        raise Refused(error.strerror) from None
