"""`make setup` fills the project's own .venv, whatever the environment says of another Python."""

import os
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
PYTHON = """#!/bin/sh
case "$*" in
    "-m venv"*) mkdir -p "$3/bin" && cp "$0" "$3/bin/python" && cp "$0" "$3/bin/uv" ;;
    "-m pip"* | pip*) echo "$0 $*" >> said; env | grep -E '^(UV_PYTHON|UV_SYSTEM|PIP_USER|PIP_TARGET)' >> said ;;
esac
exit 0
"""


def test_nothing_that_the_environment_says_leads_setup_to_another_python(tmp_path):
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    python = tmp_path / "python"
    python.write_text(PYTHON)
    python.chmod(0o755)
    hostile = {"UV_SYSTEM_PYTHON": "1", "UV_PYTHON": "/usr/bin/python3", "PIP_USER": "1", "PIP_TARGET": "/usr/lib"}
    subprocess.run(["make", "-s", "setup", f"PYTHON={python}"], cwd=tmp_path, env=os.environ | hostile, check=True)
    pip, *uv = (tmp_path / "said").read_text().splitlines()
    assert pip.startswith(".venv/bin/python -m pip install")
    assert [line.split()[:5] for line in uv] == [
        [".venv/bin/uv", "pip", what, "--python", ".venv/bin/python"] for what in ("sync", "install")
    ]
