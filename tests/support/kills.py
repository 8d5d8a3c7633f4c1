"""Signals at random moments to what runs the project, and what the next run makes of it."""

import contextlib
import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from random import Random
from typing import NamedTuple

import pytest
import torch

from support import damage
from support.dvc_project import ROOT, STAGES, Project, environment
from support.warm import Stage, Warm
from textbloom.training import loop

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGHUP)
IN_A_ROW = 10  # kills at most, each of a run that goes on from where the one before was killed
OTHER = "seed=2 captions.per_image=2 train.epochs=3"  # settings with which all but the download runs again
REFUSED = "wait for it or end it"
PRESET = "drawn-dcgan-bert"  # whose settings the quick ones are laid over
# Of requirements.lock: small ones, and those that the installation of the project itself takes.
SOME_PACKAGES = {
    "uv", "hatchling", "editables", "packaging", "pathspec", "pluggy", "trove-classifiers", "numpy", "sympy", "mpmath",
    "tqdm", "pyyaml", "psutil", "pygments", "rich", "markdown-it-py", "mdurl",
}  # fmt: skip
SECONDS = 1800  # after which a run counts as hanging, even on a busy machine


class Kill(NamedTuple):
    """What was killed, by what, and whether its whole process group was or the first process alone."""

    kind: str
    signal: str
    whole_group: bool


class Fault(Exception):
    """What a kill led to, and should not have."""


def tree(folder: Path) -> dict[str, str]:
    """The sha256 of each of a project's results and of its parameters."""
    tops = [folder / top for top in ("data", "models", "metrics", "plots")]
    files = [folder / "params.yaml", folder / "dvc.lock", *(path for top in tops for path in top.rglob("*"))]
    names = {str(path.relative_to(folder)): path for path in files if path.is_file()}
    return {
        name: hashlib.sha256(path.read_bytes()).hexdigest()
        for name, path in names.items()
        if not name.startswith("metrics/provenance")
    }


def differing(one: dict[str, str], other: dict[str, str]) -> list[str]:
    return sorted(name for name in {*one, *other} if one.get(name) != other.get(name))


class Campaign:
    """Projects as they are before a run and after one that nobody killed, and the kills of others."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch, stages: Sequence[str] = STAGES) -> None:
        damage.stand_ins(patch)
        patch.setattr(loop, "SAVE_SECONDS", 0.0)  # so that a kill meets training that has a state
        self.threads = torch.get_num_threads()
        torch.set_num_threads(1)  # a forked child has only the thread that forked
        self.folder, self.log, self.stages = folder, folder / "log", stages
        self.warm = Warm(folder / "warm", damage.COMMANDS)
        damage.write_mirror(folder / "mirror")
        (folder / "new").mkdir()
        self.new = Project.new(folder / "new")
        for name in ("tests", "benchmarks", "shipped"):  # which no run reads
            shutil.rmtree(folder / "new" / name)
        self.new.run("textbloom", "params", "--set", *damage.QUICK, f"data.mirror={folder / 'mirror'}")
        self.new.commit("quick settings")
        self.environment = environment() | {"DVC_SITE_CACHE_DIR": str(folder / "site"), "OMP_NUM_THREADS": "1"}
        self.environment["PATH"] = f"{self.warm.bin}{os.pathsep}{self.environment['PATH']}"
        settings = " ".join([*damage.QUICK, f"data.mirror={folder / 'mirror'}", *OTHER.split()])
        self.experiments = ["make", "-o", "setup", "exp", f"PRESET={PRESET}", f"SET={settings}"]
        self.setup = ["make", "setup", f"PYTHON={sys.executable}"]
        self.done: Counter[Kill] = Counter()
        self.usual: dict[str, float] = {}
        self.killed: int | None = None  # the process group of the last run that was killed

    def close(self) -> None:
        self.warm.close()
        torch.set_num_threads(self.threads)

    # Running, killing and running again

    def start(self, command: Sequence[str], folder: Path) -> "subprocess.Popen[bytes] | Stage":
        """In a process group of its own. A stage's name alone is a stage without DVC."""
        if command[0] in STAGES:
            return self.warm.start(command[0], folder, {**self.environment, "DVC_STAGE": command[0]}, self.log)
        with self.log.open("wb") as log:
            return subprocess.Popen(
                command,
                cwd=folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                process_group=0,
            )

    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def run(self, command: Sequence[str], folder: Path) -> None:
        """To its end, which must be good."""
        if self._status(command, folder):
            raise Fault(f"{command} does not run: {self.said()[-2000:]}")

    def _status(self, command: Sequence[str], folder: Path) -> int:
        running = self.start(command, folder)
        until = time.monotonic() + SECONDS
        while (status := running.poll()) is None:
            if time.monotonic() > until:
                os.killpg(running.pid, signal.SIGKILL)
                raise Fault(f"{command} hangs: {self.said()[-2000:]}")
            time.sleep(0.01)
        return status

    def kill(self, kind: str, usual: str, command: Sequence[str], folder: Path, chance: Random) -> int | None:
        """Signal the run at a random moment of its usual time; returns its process group, None where it had ended well.

        A run that had ended because what a killed one left goes on is no kill: the group is that of the killed one.
        """
        number, whole = chance.choice(SIGNALS), chance.random() < 0.5
        running = self.start(command, folder)
        time.sleep(chance.uniform(0, self.usual[usual]))
        if running.poll() is not None:
            if running.wait() == 0:
                self.usual[usual] *= 0.8  # the machine has less to do than when the time was taken, or the run less
                return None
            self._must_be_refused(command)
            return self.killed
        (os.killpg if whole else os.kill)(running.pid, number)
        running.wait()
        self.usual[usual] *= 1.05
        self.done[Kill(kind, number.name, whole)] += 1
        self.killed = running.pid
        return self.killed

    def run_after(self, group: int, command: Sequence[str], folder: Path) -> None:
        """The next run. While processes of the one before go on it may be refused in one line, which says so."""
        left = alive(group) or processes_in(
            folder
        )  # of an earlier one, where the last was killed before it was refused
        if self._status(command, folder) == 0:
            return
        if not left:
            raise Fault(f"the next run of {command} fails: {self.said()[-2000:]}")
        self._must_be_refused(command)
        wait_for(group)
        while processes_in(folder):
            time.sleep(0.02)
        self.run(command, folder)

    def _must_be_refused(self, command: Sequence[str]) -> None:
        errors = [line for line in self.said().splitlines() if line.startswith("error:")]
        if len(errors) != 1 or REFUSED not in errors[0]:
            raise Fault(f"the next run of {command} fails: {self.said()[-2000:]}")

    # What is killed

    @contextlib.contextmanager
    def copy(self, of: Project, *without: str) -> Iterator[Path]:
        """Removed at a good end only, so that a fault can be looked at."""
        work = self.folder / "work"
        shutil.rmtree(work, ignore_errors=True)
        yield Path(shutil.copytree(of.folder, work, ignore=shutil.ignore_patterns(*without)))
        shutil.rmtree(work)

    @cached_property
    def staged(self) -> Project:
        """Each stage has run, without DVC."""
        project = self.new.copy(self.folder / "staged")
        for stage in self.stages:
            self.usual[stage] = self._seconds([stage], project.folder)
        return project

    @cached_property
    def built(self) -> Project:
        """The whole pipeline has run."""
        project = self._ran("built", self.new, ["make", "-o", "setup", "repro"])
        project.commit("first results")
        return project

    @cached_property
    def other(self) -> Project:
        """And again, with other settings."""
        return self._ran("other", self.built, ["make", "-o", "setup", "repro", f"SET={OTHER}"])

    def _ran(self, name: str, start: Project, command: Sequence[str]) -> Project:
        project = start.copy(self.folder / name)
        self.usual[name] = self._seconds(command, project.folder) / 4  # several kills in a row each meet a part of it
        return project

    def _seconds(self, command: Sequence[str], folder: Path) -> float:
        started = time.monotonic()
        self.run(command, folder)
        return time.monotonic() - started

    def stage(self, chance: Random) -> None:
        """A stage alone is killed while earlier outputs are there, and runs again."""
        stage = chance.choice(self.stages)
        with self.copy(self.staged, ".git", "src", "docs") as folder:
            whole = tree(self.staged.folder)
            for path in Project(folder).outputs(stage, "flowers102"):
                _age(path)
            earlier = tree(folder)
            group = None
            for _ in range(chance.randint(1, IN_A_ROW)):
                group = self.kill(f"stage {stage}", stage, [stage], folder, chance)
                if group is None:
                    break
                self._is_whole(folder, earlier, whole)
                if alive(group) and chance.random() < 0.5:
                    wait_for(group)
            if group is not None:
                self.run_after(group, [stage], folder)
            self._ends_as(folder, whole)

    def pipeline(self, chance: Random) -> None:
        """`make repro` or `dvc repro` is killed, from nothing or with other settings than before."""
        make, fresh = chance.random() < 0.75, chance.random() < 0.5
        start, end = (self.new, self.built) if fresh else (self.built, self.other)
        before, after = tree(start.folder), tree(end.folder)
        with self.copy(start) as folder:
            if make:
                command = ["make", "-o", "setup", "repro", *([] if fresh else [f"SET={OTHER}"])]
            else:
                command = ["dvc", "repro"]
                if not fresh:
                    self.run(["textbloom", "params", "--set", *OTHER.split()], folder)
            kind, usual = "make repro" if make else "dvc repro", "built" if fresh else "other"
            group = None
            for _ in range(chance.randint(1, IN_A_ROW)):
                group = self.kill(kind, usual, command, folder, chance)
                if group is None:
                    break
                if chance.random() < 0.5:
                    wait_for(group)
                self._is_whole(folder, before, after)
            if group is not None:
                self.run_after(group, command, folder)
            self._ends_as(folder, after)

    @cached_property
    def explored(self) -> dict[str, str]:
        """What an experiment that nobody killed has recorded."""
        project = self._ran("explored", self.built, self.experiments)
        return recorded(project.folder)

    def experiment(self, chance: Random) -> None:
        """`make exp` is killed, and started again; the workspace stays as it is."""
        wanted, before = self.explored, tree(self.built.folder)
        with self.copy(self.built) as folder:
            group = None
            for _ in range(chance.randint(1, IN_A_ROW)):
                group = self.kill("make exp", "explored", self.experiments, folder, chance)
                if group is None:
                    break
                if chance.random() < 0.5:
                    wait_for(group)
                self._is_whole(folder, before)
            if group is not None:
                self.run_after(group, self.experiments, folder)
            if other := differing(recorded(folder), wanted):
                raise Fault(f"the experiment ends with another {', '.join(other)}")
            self._ends_as(folder, before)

    def queue(self, chance: Random) -> None:
        """All processes of two queue workers are killed, or one alone; then the experiments are queued again."""
        rates = {"slow": "0.0001", "fast": "0.001"}
        assert self.explored  # whose time tells when an experiment is in its middle
        with self.copy(self.built) as folder:
            before = tree(folder)
            self._enqueue(rates, folder)
            self.run(["dvc", "queue", "start", "--jobs", "2"], folder)
            time.sleep(chance.uniform(0, self.usual["explored"]))
            number, whole = chance.choice(SIGNALS), chance.random() < 0.5
            if there := processes_in(folder):
                for process in there if whole else [chance.choice(there)]:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(process, number)
                self.done[Kill("dvc queue", number.name, whole)] += 1
            until = time.monotonic() + SECONDS
            while processes_in(folder) and time.monotonic() < until:
                time.sleep(0.5)
            self._is_whole(folder, before)
            lost = [name for name in rates if not experiment(name, folder)]
            if lost:
                self._status(["dvc", "queue", "kill", *lost], folder)
                self._status(["dvc", "queue", "remove", *lost], folder)
            self._enqueue({name: rates[name] for name in lost}, folder)
            self.run(["dvc", "queue", "start", "--jobs", "2"], folder)
            while processes_in(folder):
                time.sleep(0.5)
            for name in rates:
                if not experiment(name, folder):
                    raise Fault(f"the experiment {name} is lost: {self.said()[-2000:]}")
            self._ends_as(folder, before)

    def _enqueue(self, rates: dict[str, str], folder: Path) -> None:
        for name, rate in rates.items():
            command = ["dvc", "exp", "run", "--queue", "--force", "--name", name, "--set-param", f"train.lr={rate}"]
            self.run(command, folder)

    @cached_property
    def installed(self) -> dict[str, str]:
        """What a set-up that nobody killed has installed."""
        folder = self._to_set_up()
        self.usual["setup"] = self._seconds(self.setup, folder)
        return installed(folder)

    def _to_set_up(self) -> Path:
        """A project with some small packages of the lock, in a folder that is always the same."""
        folder = self.folder / "setup"
        shutil.rmtree(folder, ignore_errors=True)
        (folder / "src/textbloom").mkdir(parents=True)
        (folder / "src/textbloom/__init__.py").touch()
        for name in ("Makefile", "pyproject.toml", "README.md"):
            shutil.copy2(ROOT / name, folder)
        blocks = re.split(r"^(?=\S)", (ROOT / "requirements.lock").read_text(encoding="utf-8"), flags=re.MULTILINE)
        chosen = [block for block in blocks if re.split("==| ", block)[0] in SOME_PACKAGES]
        (folder / "requirements.lock").write_text("".join(chosen), encoding="utf-8")
        return folder

    def set_up(self, chance: Random) -> None:
        """`make setup` is killed, and started again."""
        wanted, folder = self.installed, self._to_set_up()
        group = None
        for _ in range(chance.randint(1, IN_A_ROW)):
            group = self.kill("make setup", "setup", self.setup, folder, chance)
            if group is None:
                break
            wait_for(group)
        if group is not None:
            self.run(self.setup, folder)
        if other := differing(installed(folder), wanted):
            raise Fault(f"the set-up ends with another {', '.join(other)}")

    # What must be true

    @staticmethod
    def _is_whole(folder: Path, *versions: dict[str, str]) -> None:
        """Every result is one of these versions, or absent. DVC writes dvc.lock in place, so that may be cut short."""
        for name, digest in tree(folder).items():
            if ".partial-" not in name and name != "dvc.lock" and digest not in {there.get(name) for there in versions}:
                raise Fault(f"{name} is neither what it was nor what it becomes")

    @staticmethod
    def _ends_as(folder: Path, wanted: dict[str, str]) -> None:
        if other := differing(tree(folder), wanted):
            raise Fault(f"the run ends with another {', '.join(other)}")
        if stale := list((folder / ".git").rglob("*.lock")):
            raise Fault(f"{stale} is left locked")
        for path in (folder / ".dvc/cache/files/md5").glob("??/*"):
            if hashlib.md5(path.read_bytes()).hexdigest() != (path.parent.name + path.name).removesuffix(".dir"):
                raise Fault(f"{path} is not what its name says")


def experiment(name: str, folder: Path) -> str | None:
    """The commit of a DVC experiment."""
    told = subprocess.run(
        ["git", "for-each-ref", "--format=%(objectname) %(refname)", "refs/exps"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return next((line.split()[0] for line in told.splitlines() if line.endswith(f"/{name}")), None)


def recorded(folder: Path) -> dict[str, str]:
    """Git's hash of each result and parameter of the experiment."""
    commit = experiment(PRESET, folder)
    if commit is None:
        raise Fault("the experiment is not recorded")
    command = ["git", "ls-tree", "-r", commit, "--", "params.yaml", "dvc.lock", "metrics", "plots"]
    listed = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout
    return {line.split("\t")[1]: line.split()[2] for line in listed.splitlines()}


def installed(folder: Path) -> dict[str, str]:
    """The sha256 of what lies in .venv, but for bytecode and uv's note on the project, which have times."""
    files = [path for path in (folder / ".venv").rglob("*") if path.is_file() and path.name != "uv_cache.json"]
    return {str(path.relative_to(folder)): _digest_of_installed(path) for path in files}


def _digest_of_installed(path: Path) -> str:
    if path.suffix == ".pyc":
        return ""
    lines = path.read_bytes().splitlines(keepends=True)
    return hashlib.sha256(b"".join(line for line in lines if b"/uv_cache.json," not in line)).hexdigest()


def processes_in(folder: Path) -> list[int]:
    """Those whose working folder is this one, or in it."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (process / "cwd").readlink().is_relative_to(folder):
                found.append(int(process.name))
    return found


def _age(path: Path) -> None:
    """Put something that a run can only replace in the output's place."""
    if path.is_dir():
        shutil.rmtree(path)
        path.mkdir()
        path = path / "earlier"
    path.write_text("what an earlier run left")


def alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def wait_for(group: int) -> None:
    until = time.monotonic() + SECONDS
    while alive(group):
        if time.monotonic() > until:
            raise Fault("what a killed run left goes on for ever")
        time.sleep(0.02)
