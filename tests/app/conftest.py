"""A folder in which a small model was trained on the embedded encoder's captions."""

import shutil
from pathlib import Path

import pytest

from textbloom import models
from textbloom.core.trained_folder import save_networks
from textbloom.text import pretrained

ROOT = Path(__file__).parents[2]
NETWORK = {
    "name": "dcgan", "size": 64, "embedding_dim": 384, "noise_dim": 5, "features": 2, "text_projection": 4,
    "discriminator_text": True,
}  # fmt: skip


@pytest.fixture
def project(tmp_path, monkeypatch):
    shutil.copy(ROOT / "params.yaml", tmp_path)
    generator, discriminator = models.build(**NETWORK)
    averaged, _ = models.build(**NETWORK)
    metadata = pretrained.load("all-MiniLM-L6-v2").metadata
    config = {"network": NETWORK, "encoder": metadata}
    save_networks(tmp_path / "models/base", generator, averaged, discriminator, config)
    monkeypatch.chdir(tmp_path)
    return tmp_path
