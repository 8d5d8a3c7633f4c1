"""`make setup` fills the project's own .venv, whatever the environment says of another Python."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PYTHON = """#!/bin/sh
case "$*" in
    "-m venv"*)
        case "$*" in *--clear*) rm -rf .venv ;; esac
        mkdir -p .venv/bin && cp "$0" .venv/bin/python && cp "$0" .venv/bin/uv ;;
    "-m pip"* | pip*) echo "$0 $*" >> said; env | grep -E '=hostile$' >> said ;;
esac
case "$*" in "pip sync"*) touch .venv/package; test ! -e broken ;; esac
"""


@pytest.fixture
def python(tmp_path) -> Path:
    """A stand-in for Python and for uv, in a folder with what set-up reads; `broken`, uv ends in the middle."""
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    python = tmp_path / "python"
    python.write_text(PYTHON)
    python.chmod(0o755)
    return python


def set_up(python: Path) -> int:
    command = ["make", "-s", "setup", f"PYTHON={python}"]
    return subprocess.run(command, cwd=python.parent, capture_output=True, check=False).returncode


def test_nothing_that_the_environment_says_leads_setup_to_another_python(python, tmp_path):
    names = (
        "UV_SYSTEM_PYTHON", "UV_PYTHON", "UV_REQUIRE_HASHES", "UV_CONSTRAINT", "UV_OVERRIDE", "UV_BUILD_CONSTRAINT",
        "PIP_USER", "PIP_TARGET", "PIP_CONSTRAINT", "PYTHONPATH", "PYTHONHOME",
    )  # fmt: skip
    hostile = dict.fromkeys(names, "hostile")
    subprocess.run(["make", "-s", "setup", f"PYTHON={python}"], cwd=tmp_path, env=os.environ | hostile, check=True)
    pip, *uv = (tmp_path / "said").read_text().splitlines()
    assert pip.startswith(".venv/bin/python -m pip install --no-user")
    assert [line.split()[:5] for line in uv] == [
        [".venv/bin/uv", "pip", what, "--python", ".venv/bin/python"] for what in ("sync", "install")
    ]


def test_a_set_up_that_did_not_end_starts_from_nothing_and_one_that_did_goes_on(python, tmp_path):
    half = tmp_path / ".venv/half"  # of a package, say, which uv would take for whole
    (tmp_path / "broken").touch()
    assert set_up(python) != 0
    half.touch()
    (tmp_path / "broken").unlink()
    assert set_up(python) == 0 and not half.exists()
    half.touch()
    (tmp_path / "broken").touch()
    os.utime(tmp_path / ".venv/.synced", (0, 0))  # older than the lock, so that set-up is done again, and is ended
    assert set_up(python) != 0 and half.exists()
    (tmp_path / "broken").unlink()
    assert set_up(python) == 0 and not half.exists()
