"""The record of the machine that a stage ran on."""

import json

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
