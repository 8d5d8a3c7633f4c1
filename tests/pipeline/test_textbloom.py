"""The project's own systems through the pipeline's stage train, as their presets ask for them, and opened again."""

import json

import pytest
import torch
from support import prepared_project
from support.dvc_project import ROOT, Project

from textbloom import config
from textbloom.features.efficientnet import VARIANTS
from textbloom.sampling.generator import load_generator

TINY = [
    *prepared_project.OVERRIDES, "model.features=4", "model.discriminator_features=8", "model.text_projection=6",
    "model.backbone_side=32", "train.epochs=1", f"train.batch_size={prepared_project.TRAIN // 2}", "train.grid_every=1",
]  # fmt: skip


TERMS = {"d_real", "d_fake", "d_wrong", "g_adversarial", "g_kl", "g_pixels"}
PRESETS = {
    "drawn-textbloom": ("textbloom", TERMS),
    "drawn-projected-dcgan": ("projected-dcgan", TERMS | {"g_saturation", "g_mode_seeking"}),
}


@pytest.mark.parametrize("preset", PRESETS)
def test_its_preset_trains_and_says_what_it_learned_from(tmp_path, preset):
    prepared_project.write(tmp_path)
    config.apply(preset, TINY, tmp_path / config.PARAMS)
    Project(tmp_path).run("python", str(ROOT / "stages/train.py"))

    assert json.loads((tmp_path / config.TRAIN_METRICS).read_text())["steps"] == 2
    trained = json.loads((tmp_path / config.BASE / "config.json").read_text())
    name = "efficientnet-lite0"
    system, names = PRESETS[preset]
    assert trained["network"]["name"] == system and "backbone" not in trained["network"]
    assert trained["pretrained"] == [{"name": name, "sha256": VARIANTS[name].sha256}]
    terms = (tmp_path / config.LOSSES).read_text().splitlines()[0].split(",")[3:]
    assert set(terms) == names

    generator = load_generator(tmp_path / config.BASE, "ema")
    made = generator.sample(torch.randn(3, 12), generator.noise(3, seed=0))
    assert made.shape == (3, 3, 64, 64)
