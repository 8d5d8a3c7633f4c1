"""The machine that a stage runs on: its memory, and the record of it."""

import json
import platform
from pathlib import Path

import pytest
import torch

from textbloom.core import runtime


def test_the_record_of_a_run_names_versions_device_and_revision(tmp_path):
    path = tmp_path / "evaluate.json"
    runtime.record_provenance(path, seconds=1.5)
    found = json.loads(path.read_text())
    assert found["versions"]["torch"] == torch.__version__
    assert found["seconds"] == 1.5
    assert {"device", "git_revision", "torch_threads", "utc"} < set(found)


def test_outside_a_repository_the_revision_is_null(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    assert runtime.git_revision() is None


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have no such setting")
def test_memory_that_a_tensor_has_freed_stays_with_the_process():
    def resident_pages() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1])

    tensor = torch.ones(10_000_000)  # 9,766 pages of 4 KiB
    before = resident_pages()
    del tensor
    assert before - resident_pages() < 100
