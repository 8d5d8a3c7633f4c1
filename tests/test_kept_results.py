"""What outlives a run is computed once for all that decides it."""

import pytest
import torch

from textbloom.core import kept_results, paths, tensors


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    return tmp_path


def test_a_result_is_computed_once_for_equal_settings_and_files_and_anew_for_others(project):
    done = []

    def compute():
        done.append(len(done))
        return {"values": torch.full((3,), float(len(done)))}

    source = project / "source"
    source.write_text("one")
    assert kept_results.tensors(compute, ["a"], [source])["values"].tolist() == [1, 1, 1]
    assert kept_results.tensors(compute, ["a"], [source])["values"].tolist() == [1, 1, 1]
    assert kept_results.tensors(compute, ["b"], [source])["values"].tolist() == [2, 2, 2]
    source.write_text("two")
    assert kept_results.tensors(compute, ["a"], [source])["values"].tolist() == [3, 3, 3]


def test_two_experiments_that_write_the_same_result_do_not_disturb_each_other(project, monkeypatch):
    save = tensors.save_file

    def compute():
        return {"values": torch.ones(2)}

    def overtaken(values, path, metadata):
        """Another process begins and ends between the writing of a file and its renaming."""
        save(values, path, metadata=metadata)
        with monkeypatch.context() as other:
            other.setattr(tensors, "save_file", save)
            other.setattr(kept_results.os, "getpid", lambda: 1)
            kept_results.tensors(compute, ["a"], [])

    monkeypatch.setattr(tensors, "save_file", overtaken)
    assert kept_results.tensors(compute, ["a"], [])["values"].tolist() == [1, 1]
    assert len(list((project / paths.KEPT_FEATURES).iterdir())) == 1
