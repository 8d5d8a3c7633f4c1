"""Bring the data set's archives in: published ones checked, a folder packed, or flowers drawn; nothing is unpacked."""

import importlib
from pathlib import Path

from textbloom import config
from textbloom.data import registry
from textbloom.data.base import Options


def main(p: config.Params) -> None:
    name = p.data.dataset
    options = Options(
        keep=config.DOWNLOADS / name,
        mirror=p.data.mirror,
        checksums=p.data.checksums,
        path=Path(p.data.path),
        count=p.drawn.count,
        seed=p.drawn.seed,
    )
    # By its name: dvc.yaml lists the source of the chosen data set alone, so that an edit of another runs nothing.
    source = importlib.import_module(f"textbloom.sources.{name}")
    for file, described in registry.fill(name, config.raw(name), source, options).items():
        print(f"{file}: {described['bytes']:,} bytes, sha256 {described['sha256']}")


if __name__ == "__main__":
    config.run(main)
