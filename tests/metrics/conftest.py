"""A small prepared project, the working folder, for tests of the metrics."""

from pathlib import Path

import pytest
from support import prepared_project
from support.prepared_project import Classifier, Coarse
from torch_fidelity.registry import FEATURE_EXTRACTORS_REGISTRY

from textbloom.text import pretrained


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A prepared project with an untrained generator, the working folder."""
    monkeypatch.setitem(FEATURE_EXTRACTORS_REGISTRY, "coarse", Coarse)
    monkeypatch.setitem(FEATURE_EXTRACTORS_REGISTRY, "classifier", Classifier)
    prepared_project.write(tmp_path)
    prepared_project.write_real_features(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(pretrained, "load", lambda name, source: prepared_project.Words())
    return tmp_path
