"""A page about the training that goes on in this folder, which renews itself: pictures, curves, speed and time left.

`make watch` serves it to this machine alone. All it shows is read from the state that training saves for its own sake,
so a training is neither asked nor slowed.
"""

import argparse
import errno
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pandas as pd

from textbloom import config
from textbloom.core import checkpoint, errors
from textbloom.core.errors import UserError
from textbloom.core.tensors import load_metadata, load_rows
from textbloom.report.page import Curve, address_of, curves, duration, template
from textbloom.viz import png

PORT = 8600
REFRESH = 5  # seconds from one look to the next


@dataclass(frozen=True)
class Run:
    """An unfinished run as the page shows it.

    goes_on: whether its process is there; holder: which one that is.
    progress: how far it is, at its last save; empty before the first one.
    pictures, pictures_epoch: the newest progress pictures, each an address and a caption, and the epoch they are of.
    curves: by table.
    """

    title: str
    goes_on: bool
    holder: str
    progress: str
    pictures: list[tuple[str, str]]
    pictures_epoch: int
    curves: list[tuple[str, list[Curve]]]


def main() -> None:
    parser = argparse.ArgumentParser(prog="make watch", description="Show the training that goes on in this folder.")
    parser.add_argument("--port", type=int, default=PORT, help=f"of this machine, by default {PORT}")
    options = parser.parse_args()
    errors.run(lambda: serve(options.port))


def serve(port: int) -> None:
    """Serve the page at 127.0.0.1 until Ctrl-C."""
    try:
        server = ThreadingHTTPServer(("127.0.0.1", port), Page)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        raise UserError(f'--port: {port} is taken: make watch ARGS="--port {port + 1}"') from None
    print(f"http://127.0.0.1:{port} shows the training until Ctrl-C; over ssh: ssh -L {port}:127.0.0.1:{port} ...")
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        server.server_close()


class Page(BaseHTTPRequestHandler):
    """The one page that there is."""

    def do_GET(self) -> None:
        if self.path != "/":  # browsers ask for an icon
            self.send_error(404)
            return
        html = render(config.resume_root()).encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(html)))
        self.end_headers()
        self.wfile.write(html)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Say nothing of each look."""


def render(root: Path) -> str:
    """The page as HTML, about the unfinished runs below `root`: those that go on first, then the newest."""
    runs = sorted(unfinished(root), key=lambda run: not run.goes_on)
    now = datetime.now().astimezone().strftime("%H:%M:%S")
    return template("watch.html.j2").render(runs=runs, now=now, refresh=REFRESH)


def unfinished(root: Path) -> Iterator[Run]:
    """Every run below `root` that goes on or has saved something, the newest first."""
    for lock in sorted(root.glob("*/lock"), key=lambda path: path.stat().st_mtime, reverse=True):
        try:
            holder, goes_on = checkpoint.holder(lock.parent)
            if (lock.parent / checkpoint.STATE).exists():
                yield _saved(lock.parent, holder, goes_on)
            elif goes_on:
                yield Run("a run before its first save", goes_on, holder, "", [], 0, [])
        except (FileNotFoundError, UserError):
            if lock.exists():
                raise
            # It has ended since the line above, and so its folder is gone.


def _saved(folder: Path, holder: str, goes_on: bool) -> Run:
    state = folder / checkpoint.STATE
    notes, age = load_metadata(state), time.time() - state.stat().st_mtime
    if "history" not in notes:  # of the text encoder
        losses = [{"loss": loss} for loss in notes["losses"]]
        at = f"step {notes['step']}, saved {duration(age)} ago"
        return Run("text encoder", goes_on, holder, at, [], 0, [("losses", curves_of(losses))])
    history = notes["history"]
    watched, epochs = history["watched"], history["sheet_epochs"]
    pictures = list(zip(_addresses(state, len(epochs)), watched["captions"], strict=True)) if epochs else []
    return Run(
        watched["section"],
        goes_on,
        holder,
        progress(notes["step"], watched, age),
        pictures,
        epochs[-1] if epochs else 0,
        [("losses", curves_of(history["losses"])), ("validation", curves_of(history["validation"]))],
    )


def progress(step: int, watched: Mapping[str, Any], age: float) -> str:
    epoch = step / watched["steps_per_epoch"]
    left = max(0.0, watched["images_left"] / watched["images_per_second"] - age)
    return (
        f"epoch {epoch:.1f} of {watched['epochs']} · {watched['images_per_second']:.0f} images/s · "
        f"{duration(round(left))} left · saved {duration(round(age))} ago"
    )


def curves_of(rows: Sequence[Mapping[str, float]]) -> list[Curve]:
    """Of one row an epoch, or of rows that name theirs."""
    table = pd.DataFrame(rows)
    if "epoch" not in table:
        table.insert(0, "epoch", range(1, len(table) + 1))
    return list(curves([table]))


def _addresses(state: Path, sheets: int) -> Iterator[str]:
    for picture in load_rows(state, "sheets", [sheets - 1])[0]:
        yield address_of(png.encoded(picture, "progress", {}))


if __name__ == "__main__":
    main()
