"""`make repro` and `make exp`: settings written under a lock, DVC, and nothing left that is of another run."""

import argparse
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NoReturn

import yaml

from textbloom import config
from textbloom.core import errors, locks
from textbloom.core.errors import UserError
from textbloom.core.files import replacing, write_text
from textbloom.report.revisions import check_repository

# The metrics and plots from before a run, until it ends: DVC removes a stage's before it runs it.
EARLIER = Path(".dvc/tmp/earlier")
LOCKED = Path("dvc.lock")
MADE = (  # the folders and files of dvc.yaml's stages
    config.RAW, config.CAPTIONS, config.IMAGES, config.IMAGE_IDS, config.REAL_FEATURES, config.PHOTO_FEATURES,
    config.TEXT_ENCODER, config.EMBEDDINGS, config.BASE, config.REFINED, config.EVAL_METRICS.parent, config.PLOTS,
)  # fmt: skip
COPIES = Path(".dvc/tmp/copies")  # of the project, in each of which an experiment runs
LOCAL = Path(".dvc/config.local")
READERS = Path(".dvc/tmp/rwlock")  # DVC's list of the processes that read and write which outputs


@contextmanager
def settings() -> Iterator[IO[str]]:
    """Hold params.yaml, which nobody may write while a pipeline runs; see `locks.exclusive`."""
    with locks.exclusive(config.LOCK, "runs the pipeline with the settings of params.yaml") as lock:
        yield lock


def write(preset: str | None, overrides: Sequence[str]) -> None:
    """Write a preset and `key=value` overrides into params.yaml, if any, and check what it says then."""
    if preset or overrides:
        config.apply(preset or None, overrides, check=_check)
    else:
        _check(config.load())


def _check(p: config.Params) -> None:
    """Raise UserError for what DVC would stumble over in data.path, all of which it reads first, for any data set."""
    folder = Path(p.data.path)
    if not folder.is_dir():
        raise UserError(
            f"data.path: {folder} is no folder: correct the path to your pictures; where you have none, set it to "
            "docs/folder/example"
        )
    for made in MADE:
        if made.resolve().is_relative_to(folder.resolve()) or folder.resolve().is_relative_to(made.resolve()):
            raise UserError(
                f"data.path: '{p.data.path}' holds, or lies in, {made}, which the pipeline writes: give your pictures "
                "a folder of their own, such as data/mine"
            )
    for above, folders, names in os.walk(folder, onerror=_refuse):
        for path in (Path(above, name) for name in [*folders, *names]):
            shown = os.fsencode(path).decode(errors="backslashreplace")
            if shown != str(path):
                raise UserError(f"data.path: {shown}: this name is not UTF-8: rename it")
            if not path.exists():
                raise UserError(f"data.path: {path} is a link that leads nowhere: correct it, or take it away")
            if path.is_symlink() and path.is_dir():  # which DVC passes over
                raise UserError(f"data.path: {path} is a link to a folder: put the pictures themselves into {folder}")
            if not path.is_file() and not path.is_dir():  # a pipe, for whose content DVC would wait for ever
                raise UserError(f"data.path: {path} is neither a file nor a folder: take it away")


def _refuse(error: OSError) -> NoReturn:
    raise UserError(f"data.path: {error.filename}: {error.strerror}: change its owner or its rights")


def repro(preset: str | None, overrides: Sequence[str], arguments: Sequence[str]) -> None:
    """`dvc repro`. Of a stage that fails the earlier outputs come back; what is of an earlier run goes."""
    check_repository()
    with settings() as lock:
        write(preset, overrides)
        _mend()
        _put_back()  # what a run that was killed had from before it
        shutil.rmtree(EARLIER, ignore_errors=True)
        for folder in ("metrics", "plots"):
            if Path(folder).is_dir():
                shutil.copytree(folder, EARLIER / folder, ignore=shutil.ignore_patterns(".partial-*"))
        locks.downgrade(lock)  # the stages hold it too
        status = _dvc("repro", *arguments, holds=lock)
        if status:
            _mend()
            _dvc("checkout", "--quiet", "--allow-missing", holds=lock)
            _put_back()
            print("the failed stage's outputs are those of its last good run", file=sys.stderr)
        _remove_stale()
        shutil.rmtree(EARLIER, ignore_errors=True)
    sys.exit(status)


def _put_back() -> None:
    for path in EARLIER.rglob("*"):
        place = path.relative_to(EARLIER)
        if path.is_file() and not place.exists():
            with replacing(place) as temporary:
                shutil.copy2(path, temporary)


def _dvc(*arguments: str, holds: IO[str], folder: Path = Path()) -> int:
    """Run DVC in `folder`; returns its status.

    It `holds` a lock with this process, and after it should this one be killed.
    """
    # Ctrl-C, a terminal that closes or the end of the machine ends DVC; then it is this process's turn to put things
    # right. What ends this process alone ends DVC too.
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
    with subprocess.Popen(["dvc", *arguments], cwd=folder, pass_fds=[holds.fileno()]) as running:
        signal.signal(signal.SIGTERM, lambda *_: running.terminate())
        return running.wait()


def _mend() -> None:
    """Mend the files that DVC writes in place, so that a kill can leave them cut short."""
    if LOCKED.exists() and not _is_whole(text := LOCKED.read_text(encoding="utf-8", errors="replace")):
        # Without the stage in which it was cut. That one, and what was recorded after it, come back from the cache.
        head, *stages = re.split(r"^(?=  \S)", text, flags=re.MULTILINE)
        if len(stages) < 2:
            LOCKED.unlink()
        elif _is_whole(whole := "".join([head, *stages[:-1]])):  # else no kill did it, and DVC says what is wrong
            write_text(LOCKED, whole)
    with locks.shared(READERS.with_suffix(".lock")):  # as DVC does, so that it is not just writing it
        try:
            json.loads(READERS.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            READERS.unlink(missing_ok=True)


def _is_whole(text: str) -> bool:
    """Whether dvc.lock, if it had this text, would end where DVC ends it."""
    try:
        stages = yaml.safe_load(text)["stages"].values()
        return text.endswith("\n") and all(
            "size" in entry for stage in stages for entry in stage["deps"] + stage["outs"]
        )
    except (yaml.YAMLError, TypeError, KeyError, AttributeError):
        return False


def stale(stages: dict[str, Any]) -> list[Path]:
    """The outputs of those `stages` of dvc.lock that have not run since what they read was made anew."""
    made = {out["path"]: (name, out.get("md5")) for name, stage in stages.items() for out in stage.get("outs", [])}
    old: set[str] = set()
    for _ in stages:  # what reads an old output is old too
        for name, stage in stages.items():
            for dep in stage.get("deps", []):
                maker, md5 = made.get(dep["path"], (None, None))
                if maker in old or (maker and md5 != dep.get("md5")):
                    old.add(name)
    return [Path(out["path"]) for name in old for out in stages[name].get("outs", [])]


def _remove_stale() -> None:
    try:
        locked = yaml.safe_load(LOCKED.read_text(encoding="utf-8")) if LOCKED.exists() else {}
    except yaml.YAMLError:  # such as the marks of a merge: DVC has said so
        return
    there = [path for path in stale(locked.get("stages", {})) if path.exists()]
    for path in there:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    if there:
        names = ", ".join(sorted(map(str, there)))
        print(f"removed, for they are of an earlier run, not of this one: {names}", file=sys.stderr)


def experiment(preset: str | None, overrides: Sequence[str], arguments: Sequence[str]) -> None:
    """A DVC experiment named after the preset, in a copy of the project: whatever ends it, this one is as it was."""
    if not preset:
        raise UserError("say which: make exp PRESET=name")
    check_repository()
    wanted = config.parse(config.changed(preset, overrides), str(config.PARAMS))
    _check(wanted)
    copy = COPIES / preset
    with locks.exclusive(COPIES / f"{preset}.lock", f"runs the experiment {preset}") as lock:
        shutil.rmtree(copy, ignore_errors=True)  # of a run that was killed
        try:
            _copy_project(copy, wanted)
            config.apply(preset, overrides, copy / config.PARAMS)
            status = _dvc("exp", "run", "--force", "--name", preset, *arguments, holds=lock, folder=copy)
            if not status:
                made = _git(
                    "-C", str(copy), "for-each-ref", "--format=+%(refname):%(refname)", "refs/exps/*/*/*"
                ).split()
                if not made:
                    raise UserError("DVC has recorded no experiment: without ARGS=--queue it does")
                _git("fetch", "--quiet", "--no-write-fetch-head", "--no-auto-maintenance", str(copy), *made)
                print(f"that workspace was a copy; `dvc exp apply {preset}` brings the results into this one")
        finally:
            shutil.rmtree(copy, ignore_errors=True)
    sys.exit(status)


def _copy_project(copy: Path, wanted: config.Params) -> None:
    """The last commit, what has changed since in tracked files, DVC's cache, and what the settings name besides.

    DVC has copies of its own, but writes the settings into this params.yaml first, and takes them back.
    """
    # An experiment is a commit, which has an author; the copy does not know who that is in this project's settings.
    authors = (("user.name", "textbloom"), ("user.email", "textbloom@localhost"))
    known = [f"--config={key}={_git('config', '--default', name, '--get', key).strip()}" for key, name in authors]
    _git("clone", "--quiet", "--shared", *known, ".", str(copy))
    as_git_reads_it = ["-c", "diff.noprefix=false", "-c", "diff.mnemonicPrefix=false", "--no-optional-locks"]
    changes = _git(*as_git_reads_it, "diff", "--binary", "--no-ext-diff", "--no-textconv", "HEAD")
    if changes:
        _git("-C", str(copy), "apply", "--index", "--whitespace=nowarn", "-", given=changes)
    if LOCAL.exists():
        shutil.copy2(LOCAL, copy / LOCAL)
    cache = _output("dvc", "cache", "dir").strip()
    near = os.path.relpath(cache, copy)  # DVC writes no path with an accent into its settings
    _output("dvc", "--cd", str(copy), "cache", "dir", "--quiet", "--local", near)
    unfinished = config.resume_root().resolve()  # which outlast the copy
    unfinished.mkdir(parents=True, exist_ok=True)
    paths = [wanted.data.path, wanted.data.mirror, wanted.encoder.path, wanted.evaluate.weights]
    links = {path: Path(path).resolve() for path in paths if path and _is_untracked(path)}
    for place, target in {**links, str(config.resume_root()): unfinished}.items():
        (copy / place).parent.mkdir(parents=True, exist_ok=True)
        (copy / place).symlink_to(target)


def _git(*arguments: str, given: str | None = None) -> str:
    return _output("git", *arguments, given=given)


def _output(*command: str, given: str | None = None) -> str:
    done = subprocess.run(command, input=given and os.fsencode(given), capture_output=True, check=False)
    if done.returncode:
        raise UserError(f"{shlex.join(command)}: {os.fsdecode(done.stderr)}: see to it and run again")
    return os.fsdecode(done.stdout)


def _is_untracked(path: str) -> bool:
    """Whether `path` is a relative one of which Git tracks nothing, so that a copy of the project is without it.

    Raises UserError for a folder of which Git tracks some files alone, and for a path out of the project.
    """
    if Path(path).is_absolute() or not Path(path).exists():
        return False
    if os.path.normpath(path).startswith(".."):
        raise UserError(f"{path} lies outside of the project, of which the experiment is a copy: give its whole path")
    tracked, others = (
        subprocess.run(["git", "ls-files", *which, "--", path], capture_output=True, text=True, check=False).stdout
        for which in ((), ("--others",))
    )
    if tracked and others:
        raise UserError(
            f"{path}: Git tracks some of its files and not {others.splitlines()[0]}, which the experiment would miss: "
            "`git add` it, or take it away"
        )
    return not tracked


def words(text: str) -> list[str]:
    """The settings of make's SET="a.b=c ...", parted and unquoted as by a shell, which runs and replaces nothing."""
    try:
        return shlex.split(text)
    except ValueError as error:
        raise UserError(f"SET: {error} in {text!r}: close it, or put a \\ before it") from None


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m textbloom.app.pipeline", description=__doc__)
    parser.add_argument("what", choices=["repro", "exp"])
    parser.add_argument("--preset")
    parser.add_argument("--set", default="", metavar="'KEY=VALUE ...'", help="in one argument, quoted as for a shell")
    parser.add_argument("--dvc", nargs=argparse.REMAINDER, default=[], help="what follows is for DVC")
    options = parser.parse_args()
    run = {"repro": repro, "exp": experiment}[options.what]
    errors.run(lambda: run(options.preset, words(options.set), options.dvc))


if __name__ == "__main__":
    main()
