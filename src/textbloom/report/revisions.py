"""The project at any revision: the files of a commit, a branch or a DVC experiment, or the files as they are now.

Metrics, parameters and pictures are all in Git, so no report needs DVC's cache or a remote.
"""

import json
import os
import shlex
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from textbloom import config
from textbloom.core.errors import UserError


@dataclass(frozen=True)
class Revision:
    """The files of one commit, or of the working folder where `commit` is None."""

    name: str
    commit: str | None

    @classmethod
    def now(cls) -> "Revision":
        return cls("this run", None)

    @classmethod
    def find(cls, name: str) -> "Revision":
        """The commit, the branch here or at origin or just fetched, or the DVC experiment of that name."""
        if name == "workspace":  # as DVC calls it
            return cls.now()
        for spelling in (name, f"origin/{name}"):
            found = _git("rev-parse", "--verify", "--quiet", f"{spelling}^{{commit}}", check=False)
            if found:
                return cls(name, found)
        # A shallow clone of one branch keeps what `git fetch --depth 1 origin NAME` brings under no name but this.
        fetched = Path(_git("rev-parse", "--git-path", "FETCH_HEAD"))
        for line in fetched.read_text(encoding="utf-8").splitlines() if fetched.exists() else []:
            commit, _, source = line.split("\t", 2)
            if source.startswith((f"branch '{name}' of", f"'{name}' of")):
                return cls(name, commit)
        if name in experiments():
            return cls(name, experiments()[name])
        raise UserError(
            f"{name}: neither a commit, a branch nor a DVC experiment here; `git fetch --depth 1 origin {name}` "
            "brings a branch, `dvc exp list` names the experiments"
        )

    def fork_from(self) -> "Revision":
        """Where the present commit left this branch; in a shallow clone, which cannot tell, the branch's tip."""
        assert self.commit is not None
        return Revision(self.name, _git("merge-base", self.commit, "HEAD", check=False) or self.commit)

    def read(self, path: Path) -> bytes | None:
        """The bytes of a file; None where there is no such file."""
        if self.commit is None:
            return path.read_bytes() if path.is_file() else None
        shown = subprocess.run(["git", "show", f"{self.commit}:./{path}"], capture_output=True, check=False)
        return shown.stdout if shown.returncode == 0 else None

    def json(self, path: Path) -> dict[str, Any]:
        """A file of metrics or provenance; empty where there is none."""
        return json.loads(self.read(path) or b"{}")

    def params(self) -> dict[str, Any]:
        """Every parameter by its dotted name."""
        found = yaml.safe_load(self.read(config.PARAMS) or b"{}")
        return config.flat(found)

    def files(self, folder: Path, suffix: str) -> list[Path]:
        """The files in a folder whose names end in `suffix`, sorted."""
        if self.commit is None:
            return sorted(folder.glob(f"*{suffix}"))
        listed = _git("ls-tree", "--name-only", self.commit, f"{folder}/").splitlines()
        return sorted(Path(name) for name in listed if name.endswith(suffix))


def check_repository() -> None:
    """Raise UserError where Git, without which DVC does not run, has no repository here or refuses the one there is."""
    asked = ["git", "rev-parse", "--git-dir"]
    told = subprocess.run(asked, env=os.environ | {"LC_ALL": "C"}, capture_output=True, text=True, check=False)
    if "dubious ownership" in told.stderr:
        folder = shlex.quote(str(Path.cwd()))
        raise UserError(
            f"Git does not trust this checkout, for another user owns it: `git config --global --add safe.directory "
            f"{folder}`"
        )
    if told.returncode:
        raise UserError(f"{Path.cwd()} is in no Git repository, which DVC needs: clone the project, or run `git init`")


def experiments() -> dict[str, str]:
    """The commit of each of DVC's experiments by its name, the newest first."""
    # DVC keeps an experiment under refs/exps/<two digits>/<the rest of the commit it started from>/<its name>.
    listed = _git("for-each-ref", "--sort=-creatordate", "--format=%(objectname) %(refname)", "refs/exps", check=False)
    refs = [(commit, ref.split("/")) for commit, ref in (line.split(" ", 1) for line in listed.splitlines())]
    found: dict[str, str] = {}
    for commit, parts in refs:
        if len(parts) == 5 and len(parts[2]) == 2:
            found.setdefault(parts[4], commit)
    return found


def shown(value: Any) -> str:
    """A value as reports print it: six digits, YAML's words for yes and no, and a dash for a missing one."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _git(*arguments: str, check: bool = True) -> str:
    done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
    if check and done.returncode:
        raise UserError(f"git {arguments[0]}: {done.stderr.strip() or 'failed'}; run this in a clone of the project")
    return done.stdout.strip() if done.returncode == 0 else ""
