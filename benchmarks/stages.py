"""Seconds of a built pipeline's stages, of a `dvc repro` that has nothing to do, and of DVC alone.

    PYTHONPATH=src python benchmarks/stages.py    # after `make repro`

Stages run in a copy, as processes of their own: what a person waits for. The least of `--repeats` counts.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
STAGES = ("embed", "evaluate", "sample")
NEEDED = ("params.yaml", "src", "stages", "data", "models", "metrics", "plots")
FLOOR = "stages: {nothing: {cmd: 'true', deps: [input]}}\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    print(table(measure(parser.parse_args().repeats)))


def measure(repeats: int) -> dict[str, float]:
    """Seconds by what was done; without the pipeline's outputs, DVC's floor alone."""
    seconds: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        if all((ROOT / name).exists() for name in (*NEEDED, "models/base")):
            copy = Path(folder) / "copy"
            for name in NEEDED:
                target = copy / name
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copytree(ROOT / name, target) if (ROOT / name).is_dir() else shutil.copy2(ROOT / name, target)
            for stage in STAGES:
                seconds[stage] = _least(repeats, [sys.executable, f"stages/{stage}.py"], copy)
            if "up to date" in _run([_dvc(), "repro", "--dry"], ROOT):  # else it would run the pipeline
                seconds["dvc repro, nothing to do"] = _least(repeats, [_dvc(), "repro"], ROOT)
        empty = Path(folder) / "empty"
        empty.mkdir()
        (empty / "dvc.yaml").write_text(FLOOR)
        (empty / "input").touch()
        for command in (["git", "init", "-q"], [_dvc(), "init", "-q"], [_dvc(), "repro", "-q"]):
            _run(command, empty)
        seconds["dvc repro of one empty stage"] = _least(repeats, [_dvc(), "repro"], empty)
    return seconds


def table(seconds: dict[str, float]) -> str:
    """As Markdown."""
    return "\n".join(["| what | seconds |", "|---|---|", *(f"| {what} | {spent} |" for what, spent in seconds.items())])


def _dvc() -> str:
    return str(Path(sys.executable).with_name("dvc"))


def _least(repeats: int, command: Sequence[str], folder: Path) -> float:
    spent = []
    for _ in range(repeats):
        started = time.perf_counter()
        _run(command, folder)
        spent.append(time.perf_counter() - started)
    return round(min(spent), 2)


def _run(command: Sequence[str], folder: Path) -> str:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PYTHONPATH": "src", "PATH": path, "DVC_NO_ANALYTICS": "1"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)}: {done.stderr.strip()[-500:]}")
    return done.stdout


if __name__ == "__main__":
    main()
