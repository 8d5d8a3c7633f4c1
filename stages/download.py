"""Bring the data set's archives in, as published and checked, or pack a folder; nothing is unpacked here."""

from pathlib import Path

from textbloom import config
from textbloom.core import errors
from textbloom.data.obtain import Drawing, Fetching, Packing, obtain


def main() -> None:
    p = config.load()
    fetching = Fetching(p.data.mirror, p.data.checksums, config.DOWNLOADS / p.data.dataset)
    drawing = Drawing(p.drawn.count, p.drawn.seed)
    packing = Packing(Path(p.data.path))
    for name, entry in obtain(p.data.dataset, config.raw(p.data.dataset), fetching, drawing, packing).items():
        print(f"{name}: {entry.bytes:,} bytes, sha256 {entry.sha256}")


if __name__ == "__main__":
    errors.run(main)
