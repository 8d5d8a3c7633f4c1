"""Curves as pictures, for pages that cannot draw a table themselves: losses, and distances to training pictures."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
from matplotlib import style
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator

from textbloom.core.errors import UserError
from textbloom.core.files import replacing
from textbloom.viz.sheet import QUIET

PANELS_A_ROW = 4
LINE = "#7a3b8f"
LOOK = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#c8c8cc",
    "xtick.color": "#c8c8cc",
    "ytick.color": "#c8c8cc",
    "xtick.labelcolor": QUIET,
    "ytick.labelcolor": QUIET,
}


def loss_curves(table: Path, path: Path) -> None:
    """Draw every column of a CSV over its column `epoch`, each in a panel with a scale of its own, as a PNG.

    Raises UserError where the table is missing or holds no epoch.
    """
    losses = _read(table, {"epoch"}, "losses by epoch")
    # A term that the recipe leaves out is zero throughout.
    names = [name for name in losses.columns if name != "epoch" and losses[name].any()]
    columns = min(PANELS_A_ROW, len(names))
    rows = -(-len(names) // columns)
    with _page(path, 2.6 * columns, 2.1 * rows) as figure:
        panels = figure.subplots(rows, columns, squeeze=False, sharex=True).flatten()
        for panel, name in zip(panels, names, strict=False):
            marker = "o" if len(losses) == 1 else None
            panel.plot(losses["epoch"], losses[name], color=LINE, linewidth=1.4, marker=marker)
            panel.set_title(name, loc="left", fontsize=10)
            panel.set_title(f"{losses[name].iloc[-1]:.3g}", loc="right", fontsize=9, color=QUIET)
            panel.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
            panel.yaxis.set_major_locator(MaxNLocator(nbins=4))
        for unused in panels[len(names) :]:
            unused.set_axis_off()
        for panel in panels[max(0, len(names) - columns) : len(names)]:
            panel.set_xlabel("epoch", color=QUIET)
            panel.tick_params(labelbottom=True)


def distance_curves(table: Path, path: Path) -> None:
    """Draw how many generated and real new pictures lie within a distance of a training picture, as a PNG.

    `table`: CSV of the quantiles of both distances, columns `quantile`, `generated`, `real`. Where the generated curve
    rises left of the real one, the generator copies. Raises UserError where the table is missing or has other columns.
    """
    distances = _read(table, {"quantile", "generated", "real"}, "distances by quantile")
    with _page(path, 5.2, 3.2) as figure:
        panel = figure.subplots()
        for name, colour in (("real", QUIET), ("generated", LINE)):
            panel.plot(distances[name], distances["quantile"], color=colour, linewidth=1.6, label=name)
        panel.set_title("Nearness to the training pictures", loc="left", fontsize=10)
        panel.set_xlabel("distance to the nearest training picture, in features", color=QUIET)
        panel.set_ylabel("share of pictures within it", color=QUIET)
        panel.set_xlim(left=0)
        panel.set_ylim(0, 1)
        panel.legend(
            frameon=False, loc="lower right", bbox_to_anchor=(1, 1), ncols=2
        )  # no curve reaches above the axes


@contextmanager
def _page(path: Path, width: float, height: float) -> Iterator[Figure]:
    """A figure of this size in inches, which is written to `path` at the end."""
    # From the library's defaults: a matplotlibrc on the machine must not change the bytes.
    with style.context(["default", LOOK]):
        room = ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.12)
        figure = Figure(figsize=(width, height), dpi=150, layout=room)
        yield figure
        with replacing(path) as temporary:
            figure.savefig(temporary, metadata={"Software": None})


def _read(table: Path, columns: set[str], what: str) -> pd.DataFrame:
    mend = "delete it and run `make repro`"
    try:
        losses = pd.read_csv(table, dtype=float)
    except FileNotFoundError:
        raise UserError(f"{table} is missing: run `make repro`, which makes it") from None
    except ValueError as error:
        raise UserError(f"{table} is no table of numbers ({error}): {mend}") from None
    if not columns <= set(losses) or losses.empty or len(losses.columns) < 2:
        raise UserError(f"{table} holds no {what}: {mend}")
    return losses
