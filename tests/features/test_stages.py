"""The stages features and photo_features: what they compute, in which order, and at which size."""

import runpy
from pathlib import Path

import pytest
import torch
from support import prepared_project, tiny_flowers
from support.prepared_project import ROOT, Coarse
from torch.nn import functional
from torch_fidelity.registry import FEATURE_EXTRACTORS_REGISTRY

from textbloom import config
from textbloom.core.tensors import load_metadata, load_tensors, save_tensors
from textbloom.features import extractor, photo_features
from textbloom.features.extractor import read_real_features
from textbloom.text import joint_embedding


def run_stage(name: str) -> None:
    runpy.run_path(str(ROOT / "stages" / f"{name}.py"), run_name="__main__")


@pytest.mark.parametrize(("model", "size"), [("base", 64), ("refined", 128)])
def test_real_pictures_are_seen_at_the_size_of_the_generated_ones(tmp_path, monkeypatch, model, size):
    monkeypatch.setitem(FEATURE_EXTRACTORS_REGISTRY, "coarse", Coarse)
    prepared_project.write(tmp_path)
    monkeypatch.chdir(tmp_path)
    system = ["model.name=stackgan", "model.text_basis=variance", "model.backbone=null"]
    objective = ["objective.variety=1", "objective.cutmix=0", "objective.saturation=0", "objective.mode_seeking=0"]
    sizes = ["images.size=128", "train.size=64", "refine.to=[128]"]
    config.apply(None, [*system, *objective, *sizes, f"evaluate.model={model}"])
    images = torch.randint(0, 256, (10, 3, 128, 128), dtype=torch.uint8)
    save_tensors(config.IMAGES, {"images": images})
    run_stage("features")
    stored = read_real_features(config.REAL_FEATURES, extractor.load("coarse", None, None), size)
    averages = functional.avg_pool2d(images.float(), 128 // size).round().to(torch.uint8)
    assert torch.equal(stored.features, Coarse("coarse", ["coarse"])(averages)[0])


@pytest.fixture
def flowers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Six photos of which captions.csv names three; the working folder."""
    monkeypatch.chdir(tmp_path)
    config.PARAMS.write_bytes((ROOT / "params.yaml").read_bytes())
    config.apply(None, ["data.dataset=flowers102"])
    tiny_flowers.write(config.raw("flowers102"))
    config.CAPTIONS.write_text(
        "image_id,class_id,split,caption_index,caption\n1,1,train,0,a\n3,1,train,0,b\n4,2,val,0,c\n"
    )
    return tmp_path


def test_photos_are_read_in_the_order_of_their_ids_for_an_encoder_that_is_trained_here(flowers):
    config.apply(None, ["encoder.name=bag-of-ngrams"])
    run_stage("photo_features")
    found = load_tensors(config.PHOTO_FEATURES)
    assert {name: len(values) for name, values in found.items()} == dict.fromkeys(joint_embedding.WEIGHTS, 3)
    assert load_metadata(config.PHOTO_FEATURES) == photo_features.METADATA
    # A photo's row is what it would be alone.
    whole = config.CAPTIONS.read_text().splitlines(keepends=True)
    for row, line in enumerate(whole[1:]):
        config.CAPTIONS.write_text(whole[0] + line)
        run_stage("photo_features")
        alone = load_tensors(config.PHOTO_FEATURES)
        for name in joint_embedding.WEIGHTS:
            torch.testing.assert_close(alone[name][0], found[name][row], rtol=1e-3, atol=1e-3)
    assert not torch.allclose(found["last"][0], found["last"][1], atol=0.1)


def test_for_another_encoder_there_is_a_note(flowers):
    run_stage("photo_features")
    assert load_tensors(config.PHOTO_FEATURES) == {}
    assert load_metadata(config.PHOTO_FEATURES) == {"extracted": False}
