"""The workflows of GitHub Actions: checked by zizmor, pinned by commit, and with no more rights than they need."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))


@pytest.mark.parametrize("command", [["zizmor", "--offline", "--quiet", ".github"], ["actionlint"]], ids=lambda c: c[0])
def test_the_linters_find_nothing(command):
    program = shutil.which(command[0], path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if program is None and command[0] == "actionlint":
        pytest.skip("actionlint is not installed; its package fetches the program when it is installed")
    done = subprocess.run([program, *command[1:]], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_action_is_pinned_by_a_whole_commit_with_its_version_beside():
    used = [line for path in WORKFLOWS for line in path.read_text(encoding="utf-8").splitlines() if "uses:" in line]
    assert used
    assert [line for line in used if not re.search(r"uses: actions/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$", line)] == []


def test_only_the_workflow_that_runs_no_code_of_a_pull_request_may_write():
    rights = {}
    for path in WORKFLOWS:
        workflow = yaml.safe_load(path.read_text(encoding="utf-8"))
        assert workflow["permissions"] == {}
        rights[path.stem] = {f"{k}: {v}" for job in workflow["jobs"].values() for k, v in job["permissions"].items()}
    assert rights["pull-request"] == {"contents: read"}
    assert {right for right in rights["comment"] if "write" in right} == {"pull-requests: write"}
