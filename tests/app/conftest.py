"""A folder in which a small model was trained on the embedded encoder's captions."""

import shutil
from functools import cache
from pathlib import Path

import pytest

from textbloom import config, models
from textbloom.core.trained_folder import save_networks
from textbloom.text import pretrained

ROOT = Path(__file__).parents[2]
NETWORK = {
    "name": "dcgan", "size": 64, "embedding_dim": 768, "noise_dim": 5, "features": 2, "text_projection": 4,
    "discriminator_text": True,
}  # fmt: skip


@pytest.fixture(autouse=True, scope="module")
def _encoder_is_loaded_once():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pretrained, "load", cache(pretrained.load))
        yield


@pytest.fixture
def project(tmp_path, monkeypatch):
    shutil.copy(ROOT / "params.yaml", tmp_path)
    generator, discriminator = models.build(**NETWORK)
    averaged, _ = models.build(**NETWORK)
    monkeypatch.chdir(tmp_path)
    e = config.load().encoder
    made_of = {"network": NETWORK, "encoder": pretrained.load(e.name, bilinear_layers=e.bilinear_layers).metadata}
    save_networks(tmp_path / "models/base", generator, averaged, discriminator, made_of)
    return tmp_path
