"""The lecture's story: from the plain GAN to system A a step at a time, every step trained alike and measured alike.

`make story` trains each step with each seed in a clone of this project's last commit, all with one cache, so that what
they have in common is made once. It ends as `textbloom compare` of them.
"""

import argparse
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from textbloom.app import cli, pipeline
from textbloom.core import errors

# What each step is called, its preset, and what is changed in it.
STEPS: dict[str, tuple[str, list[str]]] = {
    "plain GAN": ("drawn-plain", []),
    "joint text": ("drawn-joint-text", []),
    "matching-aware": ("drawn-dcgan-bert", ["objective.feature_matching=0", "objective.pixel_l1=0"]),
    "pixel loss": ("drawn-dcgan-bert", ["objective.feature_matching=0"]),
    "feature matching": ("drawn-dcgan-bert", []),
}
FOLDER = Path("build/story")


def tell(seeds: Sequence[int], overrides: Sequence[str]) -> None:
    """Train every step with every seed, and write comparison.png and comparison.json to FOLDER.

    overrides: `key=value`, written into each step's params.yaml last. Raises UserError for a step that fails, whose
    stage has then said why.
    """
    shown = subprocess.run(["dvc", "cache", "dir"], check=True, capture_output=True, text=True)
    cache = shown.stdout.strip()
    projects = {}
    for seed in seeds:
        for number, (name, (preset, changed)) in enumerate(STEPS.items(), 1):
            project = projects[name, seed] = FOLDER.resolve() / f"{number}-{seed}"
            shutil.rmtree(project, ignore_errors=True)
            subprocess.run(["git", "clone", "--quiet", "--shared", ".", project], check=True)
            subprocess.run(["dvc", "cache", "dir", "--quiet", "--local", cache], cwd=project, check=True)
            settings = shlex.join([*changed, f"seed={seed}", *overrides])
            command = [sys.executable, "-m", "textbloom.app.pipeline", "repro", "--preset", preset, "--set", settings]
            command += ["--dvc", "train", "features"]
            print(f"{name}, seed {seed}", flush=True)
            if subprocess.run(command, cwd=project, env={**os.environ, "PYTHONPATH": "src"}).returncode:
                raise errors.UserError(f"{name}, seed {seed}: its training failed in {project}, as told above")
    named = [f"{name}={project}" for (name, _), project in projects.items()]
    out = FOLDER.resolve()
    os.chdir(next(iter(projects.values())))  # whose held-out data is that of all
    cli.main(["compare", *named, "--out", str(out)])


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m textbloom.app.story", description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--set", default="", metavar="'KEY=VALUE ...'", help="in one argument, quoted as for a shell")
    options = parser.parse_args()
    errors.run(lambda: tell(options.seeds, pipeline.words(options.set)))


if __name__ == "__main__":
    main()
