"""One look for every progress bar: name, count, rate, ETA."""

import sys
from collections.abc import Iterable
from typing import Any

from tqdm import tqdm


def progress(
    items: Iterable[Any] | None, name: str, unit: str, total: int | None = None, hidden: bool = False, done: int = 0
) -> "tqdm[Any]":
    """A progress bar on stderr; a line every ten seconds where stderr is a file rather than a terminal.

    `done` of `total` were so before this process began: rate and ETA leave them out.
    """
    interval = 0.1 if sys.stderr.isatty() else 10.0
    return tqdm(
        items,
        desc=name,
        unit=f" {unit}",
        total=total,
        mininterval=interval,
        maxinterval=interval,
        dynamic_ncols=True,
        disable=hidden,
        initial=done,
    )
