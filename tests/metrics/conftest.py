"""A small prepared project, and drawn flowers whose attributes are known, for tests of the metrics."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support import prepared_project
from support.prepared_project import Classifier, Coarse
from torch_fidelity.registry import FEATURE_EXTRACTORS_REGISTRY

from textbloom.sources.drawn import attributes, painter
from textbloom.text import pretrained

COUNT = 160  # drawn flowers


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A prepared project with an untrained generator, the working folder."""
    prepared_project.quick(monkeypatch)
    monkeypatch.setitem(FEATURE_EXTRACTORS_REGISTRY, "coarse", Coarse)
    monkeypatch.setitem(FEATURE_EXTRACTORS_REGISTRY, "classifier", Classifier)
    prepared_project.write(tmp_path)
    prepared_project.write_real_features(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(pretrained, "load", lambda name, source: prepared_project.Words())
    return tmp_path


@pytest.fixture(scope="session")
def flowers() -> list[attributes.Flower]:
    return [
        attributes.sample(np.random.Generator(np.random.PCG64([11, number])), number, class_id)
        for number, class_id in enumerate(attributes.class_ids(COUNT, seed=11))
    ]


@pytest.fixture(scope="session")
def originals(flowers: list[attributes.Flower]) -> np.ndarray:
    """uint8 [COUNT, 3, 128, 128]."""
    pictures = [painter.paint(one, np.random.Generator(np.random.PCG64([12, one.image_id]))) for one in flowers]
    return np.stack(pictures).transpose(0, 3, 1, 2)


@pytest.fixture(scope="session")
def small(originals: np.ndarray) -> np.ndarray:
    """uint8 [COUNT, 3, 64, 64]."""
    shrunk = [
        np.asarray(Image.fromarray(p.transpose(1, 2, 0)).resize((64, 64), Image.Resampling.LANCZOS)) for p in originals
    ]
    return np.stack(shrunk).transpose(0, 3, 1, 2)
