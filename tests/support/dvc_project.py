"""A project of its own for tests that run the pipeline: the tracked files of this one, in Git and DVC, made tiny."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

from support.warm import Warm

ROOT = Path(__file__).parents[2]
STAGES = [
    "download",
    "captions",
    "images",
    "preview",
    "features",
    "photo_features",
    "text_encoder",
    "embed",
    "train",
    "evaluate",
    "sample",
]
TINY = [
    "drawn.count=460", "evaluate.samples=100", "evaluate.extractor=efficientnet-lite0", "model.backbone=null",
    "objective.mode_seeking=0", "objective.cutmix=0", "objective.variety=1", "model.text_basis=variance",
    "model.features=4", "model.discriminator_features=8", "train.epochs=2", "train.batch_size=128",
]  # fmt: skip
BIN = Path(sys.executable).parent


def environment(*programs: Path) -> dict[str, str]:
    """This process's environment with these folders' programs first, then the project's; no outer DVC or Git run's."""
    ours = {
        **os.environ,
        "PATH": os.pathsep.join([*map(str, programs), str(BIN), os.environ["PATH"]]),
        "PYTHONPATH": str(ROOT / "src"),  # what the program `textbloom` runs, as after an editable installation
        "DVC_NO_ANALYTICS": "1",
        "GIT_AUTHOR_NAME": "test", "GIT_AUTHOR_EMAIL": "test@example.org",
        "GIT_COMMITTER_NAME": "test", "GIT_COMMITTER_EMAIL": "test@example.org",
    }  # fmt: skip
    # Nor may a container's own setting let every stage compile all modules, or `make test ARGS=` hand on its ARGS.
    for name in ("DVC_ROOT", "DVC_STAGE", "GIT_DIR", "PYTHONDONTWRITEBYTECODE", "MAKEFLAGS", "MFLAGS", "ARGS"):
        ours.pop(name, None)
    return ours


class Project:
    """A Git and DVC project of its own: the tracked files of this one, no cache, no outputs."""

    def __init__(self, folder: Path, warm: Warm | None = None) -> None:
        """`warm`: which starts the stages, unless they have to run the project's own source."""
        self.folder, self.warm = folder, warm

    @classmethod
    def new(cls, folder: Path, warm: Warm | None = None) -> "Project":
        """Without cache or outputs, in an empty folder."""
        project = cls(folder, warm)
        names = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
        for name in names.splitlines():
            result = name == "dvc.lock" or name.startswith(("metrics/", "plots/", "docs/results/"))
            if (ROOT / name).exists() and not result:
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, folder / name)
        project.run("git", "init", "-q", "-b", "main")
        project.run("textbloom", "params", "--set", *TINY)
        project.commit("a tiny configuration")
        return project

    def copy(self, folder: Path) -> "Project":
        """The same in another, empty folder, with its outputs and its cache."""
        shutil.copytree(self.folder, folder, symlinks=True, dirs_exist_ok=True)
        return Project(folder, self.warm)

    def environment(self) -> dict[str, str]:
        return environment(*([self.warm.bin] if self.warm else []))

    def run(self, *command: str, succeeds: bool = True, own: bool = False) -> str:
        """Run a command in the project; returns what it printed, both streams. `own`: with the project's own source."""
        done = subprocess.run(
            command,
            cwd=self.folder,
            env={**environment(), "PYTHONPATH": "src"} if own else self.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert (done.returncode == 0) == succeeds, f"{command}\n{done.stdout[-3000:]}"
        return done.stdout

    def commit(self, message: str) -> None:
        self.run("git", "add", "-A")
        self.run("git", "commit", "-q", "--allow-empty", "-m", message)

    def outputs(self, stage: str, dataset: str = "drawn") -> list[Path]:
        """The files and folders that DVC keeps of a stage."""
        listed = yaml.safe_load(self.text("dvc.yaml"))["stages"][stage]
        names = [out for kind in ("outs", "metrics", "plots") for out in listed.get(kind, [])]
        names = [next(iter(name)) if isinstance(name, dict) else name for name in names]
        return [self.folder / name.replace("${data.dataset}", dataset) for name in names]

    def take_as_built(self, stages: list[str], dataset: str = "drawn") -> None:
        """Let these stages count as run: to DVC a stand-in for an output is as good as the output."""
        for output in [output for stage in stages for output in self.outputs(stage, dataset)]:
            output.parent.mkdir(parents=True, exist_ok=True)
            output.write_text("a stand-in")
        self.run("dvc", "commit", "--force", *stages)

    def text(self, name: str) -> str:
        return (self.folder / name).read_text(encoding="utf-8")


def ran(output: str) -> list[str]:
    """The stages that DVC ran, in order."""
    return re.findall(r"Running stage '(\w+)'", output)
