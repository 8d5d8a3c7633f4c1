"""One HTML file about the current run, or about DVC experiments side by side: pictures, curves, metrics, parameters.

`make report` writes build/report.html; `make report EXPS="a b"` sets experiments (or branches, or `workspace`) beside
each other. The file holds all it shows and asks nothing of the network. This is a plain command and no DVC stage: the
report tells seconds, versions and the committed values, which belong to a machine and a moment. As a stage's output it
would differ from one rebuild to the next, and DVC would bring back another run's from its cache.
"""

import argparse
import base64
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from textbloom import config
from textbloom.core import errors
from textbloom.core.files import write_text
from textbloom.report import directions
from textbloom.report.revisions import Revision, check_repository, shown

OUT = Path("build/report.html")
# The sheets that a run is looked at for come first; the others follow by name.
FIRST = ("samples", "real_beside_generated", "interpolation_captions", "interpolation_noise", "nearest_training")
CURVES_DRAWN = "losses"  # pictures of curves that this page draws itself
RUN_FACTS = ("versions", "utc", "git_revision")  # of provenance; all else is a stage's time and device


class MetricRow(NamedTuple):
    name: str
    entry: directions.Measure
    values: list[str]  # of each run
    gains: list[float | None]  # over the first run
    interval: str
    chance: str
    best: str
    place: float | None  # of the last run's value between chance (0) and best (1)


class Curve(NamedTuple):
    """One column of a table over epochs."""

    name: str
    low: str
    high: str
    epochs: str
    lines: list[tuple[int, str, str]]  # the run's place, the points of its line in a square of side 100, its last value


class ParamRow(NamedTuple):
    name: str
    preset: str
    values: list[str]
    differs: bool


def main() -> None:
    parser = argparse.ArgumentParser(prog="make report", description="Write build/report.html.")
    parser.add_argument("experiments", nargs="*", help="DVC experiments or branches to set side by side")
    options = parser.parse_args()
    errors.run(lambda: write(options.experiments))


def write(experiments: Sequence[str]) -> None:
    """Write the report of the current run beside the committed one, or of experiments side by side."""
    check_repository()
    write_text(OUT, render([Revision.find(name) for name in experiments]))
    print(f"the report is in {OUT}")


def render(experiments: Sequence[Revision]) -> str:
    """The page as HTML; without experiments it is about the working folder."""
    now = Revision.now()
    runs = list(experiments) or [now]
    measured = list(experiments) or [Revision("committed", Revision.find("HEAD").commit), now]
    evaluations = [run.json(config.EVAL_METRICS) for run in measured]
    # Git does not keep provenance, so only the working folder has it.
    provenance = {path.stem: now.json(path) for path in now.files(config.PROVENANCE, ".json")} if now in runs else {}
    preset, params = parameters([run.params() for run in runs])
    names = {name for run in runs for name in run.files(config.PLOTS, ".png")} - {config.DATA_SHEET}
    sheets = [name for name in sorted(names, key=_sheet_order) if not name.stem.startswith(CURVES_DRAWN)]
    tables = sorted({name for run in runs for name in run.files(config.PLOTS, ".csv")})
    return template("page.html.j2").render(
        runs=runs,
        measured=measured,
        metrics=metric_rows(evaluations, intervals(measured[-1])),
        conditions={name: value for name, value in evaluations[-1].items() if directions.is_condition(name)},
        incomparable=[name for one in evaluations for name in directions.changed_conditions(evaluations[0], one)],
        sheets=[(name.stem, [picture(run, name) for run in runs]) for name in sheets],
        curves=[(name.stem, list(curves([table_of(run.read(name)) for run in runs]))) for name in tables],
        preset=preset,
        params=params,
        same_start=not any(row.differs for row in params if row.name == "seed" or row.name.startswith("sample.")),
        counts=runs[-1].json(config.DATA_METRICS),
        data_sheet=picture(runs[-1], config.DATA_SHEET),
        training=runs[-1].json(config.TRAIN_METRICS),
        provenance=provenance,
        versions=next((facts["versions"] for facts in provenance.values() if "versions" in facts), {}),
        facts=sorted({key for facts in provenance.values() for key in facts if key not in RUN_FACTS}),
        shown=shown,
        duration=duration,
    )


def template(name: str) -> Template:
    """A template of this folder, in which whatever a value says is text and never markup."""
    folder = FileSystemLoader(Path(__file__).parent)
    return Environment(loader=folder, autoescape=True, undefined=StrictUndefined, trim_blocks=True).get_template(name)


def metric_rows(evaluations: Sequence[Mapping[str, Any]], intervals: Mapping[str, Sequence[float]]) -> list[MetricRow]:
    """A row for each result of the evaluations; what it is read against is the last one's."""
    rows = []
    last = evaluations[-1]
    for name in sorted({name for one in evaluations for name in one}):
        entry = directions.measure(name)
        if entry is None or entry.kind not in (directions.Kind.HIGHER, directions.Kind.LOWER):
            continue
        chance, best = directions.references(name, last)
        value = last.get(name)
        place = None
        if value is not None and chance is not None and best is not None and chance != best:
            place = min(1.0, max(0.0, (value - chance) / (best - chance)))
        values = [one.get(name) for one in evaluations]
        gains = [directions.gain(name, values[0], other) for other in values]
        interval = " to ".join(map(shown, intervals[name])) if name in intervals else ""
        rows.append(MetricRow(name, entry, [*map(shown, values)], gains, interval, shown(chance), shown(best), place))
    return rows


def intervals(run: Revision) -> dict[str, list[float]]:
    """The 95% interval of each value of metrics/eval.json that has one: low and high."""
    rows = table_of(run.read(config.INTERVALS)).to_dict("records")
    return {row["metric"]: [float(row["low"]), float(row["high"])] for row in rows}


def curves(tables: Sequence[pd.DataFrame]) -> Iterator[Curve]:
    """Each column of the runs' tables over their `epoch`; a run without such a table has an empty one."""
    dated = {run: table for run, table in enumerate(tables) if "epoch" in table and len(table)}
    last_epoch = max((float(table["epoch"].max()) for table in dated.values()), default=1.0)
    for column in dict.fromkeys(str(name) for table in dated.values() for name in table):
        points = {
            run: [(x, y) for x, y in table[["epoch", column]].to_numpy(dtype=float).tolist() if math.isfinite(y)]
            for run, table in dated.items()
            if column in table
        }
        values = [y for line in points.values() for _, y in line]
        if column == "epoch" or not any(values):  # a term of weight 0 is not drawn
            continue
        low, high = min(values), max(values)
        across, up = max(last_epoch - 1, 1), (high - low) or 1
        drawn = [
            (
                run,
                " ".join(f"{100 * (x - 1) / across:.2f},{100 * (high - y) / up:.2f}" for x, y in line),
                f"{line[-1][1]:.4g}",
            )
            for run, line in points.items()
            if line
        ]
        yield Curve(column, f"{low:.3g}", f"{high:.3g}", f"{last_epoch:g}", drawn)


def table_of(data: bytes | None) -> pd.DataFrame:
    """The table that a CSV holds, an empty one where there is none."""
    return pd.read_csv(io.BytesIO(data)) if data else pd.DataFrame()


def parameters(runs: Sequence[Mapping[str, Any]]) -> tuple[str, list[ParamRow]]:
    """The preset nearest to the first run, by name, and every parameter of every run beside that preset's."""
    base = config.flat(yaml.safe_load((config.PRESETS / f"{config.BASE_PRESET}.yaml").read_text(encoding="utf-8")))
    presets = {
        path.stem: base | config.flat(yaml.safe_load(path.read_text(encoding="utf-8")))
        for path in sorted(config.PRESETS.glob("*.yaml"))
    }
    nearest = min(presets, key=lambda name: sum(runs[0].get(key) != value for key, value in presets[name].items()))
    rows = []
    for key in dict.fromkeys(key for run in runs for key in run):
        values = [run.get(key) for run in runs]
        wanted = presets[nearest].get(key, values[0])  # some keys, such as seed, are set by no preset
        known = shown(wanted) if key in presets[nearest] else ""
        rows.append(ParamRow(key, known, [*map(shown, values)], any(value != wanted for value in values)))
    return nearest, rows


def picture(run: Revision, name: Path) -> str | None:
    """The address of a run's PNG."""
    data = run.read(name)
    return address_of(data) if data else None


def address_of(png: bytes) -> str:
    """A PNG as the address of an image in a page that holds all it shows."""
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def duration(seconds: float) -> str:
    """Seconds as a person says them."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{seconds:.3g} s"


def _sheet_order(name: Path) -> tuple[int, str]:
    return FIRST.index(name.stem) if name.stem in FIRST else len(FIRST), name.stem


if __name__ == "__main__":
    main()
