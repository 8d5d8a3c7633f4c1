"""All of training's and the pipeline's speeds in one run: benchmarks/results.json, and its tables.

    PYTHONPATH=src python benchmarks/results.py    # after `make repro`, on a quiet machine

Each training configuration runs in a process of its own; one that the memory cannot hold is reported so.
"""

import json
import platform
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import Any

import torch
import training

import stages
from textbloom.core.runtime import git_revision

RESULTS = Path(__file__).with_name("results.json")
FEATURES, BATCHES = (64, 128), (64, 1024)
REPEATS = {64: 5, 1024: 1}


def main() -> None:
    machine = {
        "processor": _processor(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "git_revision": git_revision(),
        "utc": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    found: dict[str, Any] = {"machine": machine, "seconds": stages.measure(repeats=3), "training": []}
    print(f"{stages.table(found['seconds'])}\n", flush=True)
    for features, batch in product(FEATURES, BATCHES):
        found["training"].append(_training(features, batch))
        _write(found)  # it takes long: what is measured stays if the rest fails
    print(training.table([row for row in found["training"] if "failed" not in row]))
    for row in found["training"]:
        if "failed" in row:
            print(f"\nF = {row['features']}, batch {row['batch']}: {row['failed']}")


def _write(found: dict[str, Any]) -> None:
    RESULTS.write_text(json.dumps(found, indent=2) + "\n")


def _training(features: int, batch: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "found.json"
        options = {"features": features, "batch": batch, "repeats": REPEATS[batch], "json": path}
        arguments = [text for name, value in options.items() for text in (f"--{name}", str(value))]
        command = [sys.executable, str(Path(training.__file__)), *arguments]
        done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
        if done.returncode == 0:
            return dict(json.loads(path.read_text()))
    reason = (done.stderr.strip().splitlines() or [""])[-1]
    killed = done.returncode == -9 or "memory" in reason
    return {"features": features, "batch": batch, "failed": "out of memory" if killed else reason}


def _processor() -> str:
    names = [line.partition(": ")[2] for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []


if __name__ == "__main__":
    main()
