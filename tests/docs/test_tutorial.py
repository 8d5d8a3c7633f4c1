"""docs/tutorial.md: its commands are taken from the page itself; all of them are understood, and all of them run."""

import re
import shlex
import shutil
import subprocess

import pytest
from dvc.cli.parser import get_main_parser
from support.dvc_project import BIN, ROOT, TINY, Project

from textbloom import config
from textbloom.app import cli

PAGE = (ROOT / "docs/tutorial.md").read_text(encoding="utf-8")
COMMANDS = [line for block in re.findall(r"^```sh\n(.*?)^```$", PAGE, re.M | re.S) for line in block.splitlines()]
# What the page says is there afterwards.
MADE = sorted(set(re.findall(r"`((?:plots|metrics|build)/[\w./-]+)`", PAGE)))
# A fifth of these flowers is enough to measure by; after so short a training a fall in quality is no news.
SMALL = [*TINY, "drawn.count=600"]
TOLERANCES = "frechet_distance: 1000%\nretrieval_at_10: 1\n"


def test_the_page_has_commands_and_results():
    assert len(COMMANDS) > 15
    assert {"plots/samples.png", "build/report.html", "build/pr-report/report.md"} <= set(MADE)


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_is_understood(command, monkeypatch):
    program, *arguments = shlex.split(command)
    settings: list[str] = []
    if program == "make":
        [target] = [word for word in arguments if "=" not in word]
        subprocess.run(["make", "-n", "-o", "setup", target], cwd=ROOT, check=True, capture_output=True)
        variables = dict(word.split("=", 1) for word in arguments if "=" in word)
        assert set(variables) <= {"SET", "EXPS", "ARGS", "BASE"}
        settings = variables.get("SET", "").split()
    elif program == "dvc":
        settings = getattr(get_main_parser().parse_args(arguments), "set_param", None) or []
    elif program == "textbloom":
        monkeypatch.setattr(cli.errors, "run", lambda command: None)
        cli.main(arguments)
    else:
        assert program in {"export", "cp", "cat", "mkdir", "tar", "git"}
    monkeypatch.chdir(ROOT)
    config.parse(config.changed(None, settings), command)


@pytest.mark.slow
def test_the_commands_run_one_after_the_other_and_leave_what_the_page_says(tmp_path):
    home, folder, fork = tmp_path / "home", tmp_path / "project", tmp_path / "fork"
    folder.mkdir()
    home.mkdir()
    project = Project.new(folder)
    project.run("textbloom", "params", "--set", *SMALL)
    (folder / ".github/tolerances.yaml").write_text(TOLERANCES)
    (folder / ".venv").symlink_to(BIN.parent)
    for name in [ROOT / "dvc.lock", *ROOT.glob("metrics/*.json"), *ROOT.glob("plots/*.*")]:  # a fork has results in Git
        (folder / name.relative_to(ROOT)).parent.mkdir(exist_ok=True)
        shutil.copy(name, folder / name.relative_to(ROOT))
    project.commit("a small configuration")
    project.run("git", "init", "-q", "--bare", str(fork))
    project.run("git", "remote", "add", "origin", str(fork))
    for command in COMMANDS:
        project.run("env", f"HOME={home}", "bash", "-ec", command.replace("make ", "make -o setup "))
    assert [name for name in MADE if not (folder / name).is_file()] == []
    assert project.run("git", "status", "--short") == ""
    assert "metrics/eval.json" in project.run("git", "diff", "--name-only", "origin/main", "origin/longer-training")
