"""The review of a pull request: its parameters, metrics and pictures beside those of its base, as one Markdown text.

`make pr-report BASE=main` writes the text to build/pr-report/report.md. It exits with an error, after writing, where
the results were not rebuilt from the parameters and the code, or where a metric fell by more than
.github/tolerances.yaml allows. In GitHub Actions the text goes to the job's summary too, and the pictures are links
into the repository at both commits; elsewhere they are copied beside the text.
"""

import argparse
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from textbloom import config
from textbloom.core import errors
from textbloom.core.errors import UserError
from textbloom.core.files import replacing, write_text
from textbloom.report import directions
from textbloom.report.revisions import Revision, check_repository, shown

TOLERANCES = Path(".github/tolerances.yaml")
OUT = Path("build/pr-report")

Changes = Mapping[str, Mapping[str, Any]]  # {name: {"old": value, "new": value}}, as DVC's JSON has it


def main() -> None:
    parser = argparse.ArgumentParser(prog="make pr-report", description="Compare this branch's results with another's.")
    parser.add_argument("--base", default="main", help="the branch or commit to compare with (default main)")
    parser.add_argument("--head", default="HEAD", help="the commit that holds the new pictures (default HEAD)")
    options = parser.parse_args()
    errors.run(lambda: review(options.base, options.head))


def review(base_name: str, head_name: str) -> None:
    """Write the report of the working folder against a branch. Raises UserError where the check fails."""
    check_repository()
    base, head = Revision.find(base_name).fork_from(), Revision.find(head_name)
    metrics: dict[str, Changes] = _dvc("metrics", "diff", "--all", "--json", str(base.commit))
    params: dict[str, Changes] = _dvc("params", "diff", "--json", str(base.commit))
    evaluation = metrics.pop(str(config.EVAL_METRICS), {})
    old, new = ({name: pair[side] for name, pair in evaluation.items()} for side in ("old", "new"))
    conditions = directions.changed_conditions(old, new)

    failures = _forgotten_rebuild()
    if not conditions:
        failures += beyond_tolerance(old, new, tolerances())
    text = "\n".join(
        [
            "## Results of this pull request",
            "",
            f"Compared with {code(base.name)} at {code(str(base.commit)[:10])}.",
            "",
            *_verdict(failures, conditions),
            *_params_table(params),
            *_evaluation_table(evaluation, comparable=not conditions),
            *_other_metrics(metrics),
            *_pictures(base, head),
        ]
    )
    write_text(OUT / "report.md", text + "\n")
    if summary := os.environ.get("GITHUB_STEP_SUMMARY"):
        with open(summary, "a", encoding="utf-8") as file:
            file.write(text + "\n")
    print(f"the report is in {OUT / 'report.md'}")
    if failures:
        raise UserError("; ".join(failures).replace("`", ""))


def tolerances(path: Path = TOLERANCES) -> dict[str, str | float]:
    """By how much each metric may get worse: a number, or a share of the old value such as 5%."""
    allowed = yaml.safe_load(path.read_text(encoding="utf-8")) if path.exists() else {}
    for name, limit in (allowed or {}).items():
        if directions.gain(name, 0, 0) is None:
            raise UserError(f"{path}: {name}: no metric with a better and a worse side; correct its name")
        if not re.fullmatch(r"\d+(\.\d+)?%?", str(limit)):
            raise UserError(
                f"{path}: {name}: expected a number >= 0 such as 0.02, or a share such as 5%, got {limit!r}"
            )
    return allowed or {}


def beyond_tolerance(old: Mapping[str, Any], new: Mapping[str, Any], allowed: Mapping[str, str | float]) -> list[str]:
    """A sentence for each metric that got worse by more than its tolerance, or that is no longer measured."""
    failures = []
    for name, limit in allowed.items():
        if old.get(name) is None:
            continue
        if new.get(name) is None:
            failures.append(f"{code(name)} is no longer measured, and its tolerance cannot be checked")
            continue
        gain = directions.gain(name, old[name], new[name])
        assert gain is not None
        share = float(str(limit).removesuffix("%")) / 100 * abs(old[name])
        most = share if str(limit).endswith("%") else float(limit)
        if -gain > most + 1e-9:
            change = f"from {shown(old[name])} to {shown(new[name])}"
            failures.append(f"{code(name)} got worse {change}, by more than the {limit} of {TOLERANCES}")
    return failures


def code(value: Any) -> str:
    """A value as inline code that no table, mention or markup of Markdown can break out of."""
    text = re.sub(r"[\s`<>]+", " ", value if isinstance(value, str) else shown(value)).strip() or " "
    text = text if len(text) <= 80 else text[:79] + "…"
    return "`" + text.replace("|", "\\|") + "`"


def _verdict(failures: list[str], conditions: list[str]) -> Iterable[str]:
    for failure in failures:
        yield f"- ❌ {failure}"
    if conditions:
        names = ", ".join(map(code, conditions))
        yield f"- ⚠️ Measured differently ({names}): the two columns do not compare, and no tolerance was applied"
    if not failures:
        yield "- ✅ The results belong to these parameters and this code" + (
            "" if conditions else f", and no metric got worse by more than {TOLERANCES} allows"
        )
    yield ""


def _params_table(params: Mapping[str, Changes]) -> Iterable[str]:
    yield from ["### Parameters", ""]
    rows = [(name, pair) for file in params.values() for name, pair in sorted(file.items())]
    if not rows:
        yield from ["No parameter changed.", ""]
        return
    yield from ["| parameter | old | new |", "|---|---|---|"]
    yield from (f"| {code(name)} | {_cell(pair.get('old'))} | {_cell(pair.get('new'))} |" for name, pair in rows)
    yield ""


def _evaluation_table(evaluation: Changes, comparable: bool) -> Iterable[str]:
    yield from ["### Metrics", ""]
    if not evaluation:
        yield from [f"There is no {config.EVAL_METRICS} on either side.", ""]
        return
    yield from ["| metric | old | new | change | |", "|---|--:|--:|--:|---|"]
    for name in sorted(evaluation, key=lambda name: (directions.is_condition(name), name)):
        old, new = evaluation[name]["old"], evaluation[name]["new"]
        gain = directions.gain(name, old, new) if comparable else None
        mark = "" if not gain else "▲ better" if gain > 0 else "▼ worse"
        yield f"| {code(name)} | {_cell(old)} | {_cell(new)} | {_change(old, new)} | {mark} |"
    yield ""


def _other_metrics(metrics: Mapping[str, Changes]) -> Iterable[str]:
    for file, changes in sorted(metrics.items()):
        changed = {name: pair for name, pair in sorted(changes.items()) if pair["old"] != pair["new"]}
        if changed:
            yield from [f"### {file}", "", "| value | old | new | change |", "|---|--:|--:|--:|"]
            for name, pair in changed.items():
                old, new = pair["old"], pair["new"]
                yield f"| {code(name)} | {_cell(old)} | {_cell(new)} | {_change(old, new)} |"
            yield from ["", f"{len(changes) - len(changed)} other values are as before.", ""]


def _pictures(base: Revision, head: Revision) -> Iterable[str]:
    """Each picture that changed, the old beside the new."""
    now = Revision.now()
    yield from ["### Pictures", ""]
    names = {*base.files(config.PLOTS, ".png"), *now.files(config.PLOTS, ".png")}
    names_in_order = sorted(names, key=lambda name: (name.stem != "samples", name))
    changed = [name for name in names_in_order if base.read(name) != now.read(name)]
    if not changed:
        yield from ["No picture changed.", ""]
    repository = os.environ.get("GITHUB_REPOSITORY")
    for name in changed:
        links = []
        for side, revision, commit in (("old", base, base.commit), ("new", now, head.commit)):
            picture = revision.read(name)
            if picture is None:
                links.append("none")
            elif repository:
                server = os.environ.get("GITHUB_SERVER_URL", "https://github.com")
                links.append(f"![{side} {name.stem}]({server}/{repository}/blob/{commit}/{name.as_posix()}?raw=true)")
            else:
                with replacing(OUT / side / name.name) as copy:
                    copy.write_bytes(picture)
                links.append(f"![{side} {name.stem}]({side}/{name.name})")
        yield from [f"{code(name.as_posix())}", "", "| old | new |", "|---|---|", f"| {' | '.join(links)} |", ""]


def _cell(value: Any) -> str:
    return shown(value) if value is None or isinstance(value, int | float) else code(value)


def _change(old: Any, new: Any) -> str:
    if isinstance(old, bool) or not (isinstance(old, int | float) and isinstance(new, int | float)) or old == new:
        return ""
    return f"{new - old:+d}" if isinstance(new - old, int) else f"{new - old:+.3g}"


def _forgotten_rebuild() -> list[str]:
    """A sentence where dvc.lock does not belong to these parameters, this code and these data, else nothing."""
    done = _run_dvc("repro", "--dry", "--allow-missing")
    stage = re.search(r"(?:Running stage|failed to reproduce) '([^']+)'", done.stdout + done.stderr)
    if done.returncode == 0 and not stage:
        return []
    which = f"stage {code(stage[1])} would run again" if stage else code(done.stderr.strip().splitlines()[-1])
    return [
        f"The results do not belong to these parameters and this code ({which}): run `make repro`, commit its changes"
    ]


def _dvc(*arguments: str) -> Any:
    done = _run_dvc(*arguments)
    if done.returncode:
        raise UserError(f"dvc {' '.join(arguments)}: {done.stderr.strip()}")
    return json.loads(done.stdout or "{}")


def _run_dvc(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "dvc", *arguments], capture_output=True, text=True, check=False)


if __name__ == "__main__":
    main()
