"""The evaluate stage in a tiny project: what it writes, what a perfect generator gets, and how it refuses."""

import json
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd
import pytest
from support import prepared_project
from support.prepared_project import flat_pictures
from torch import Tensor

from textbloom import config
from textbloom.core import trained_folder
from textbloom.core.files import write_json
from textbloom.core.tensors import load_tensors, save_tensors
from textbloom.features import extractor
from textbloom.metrics import diversity
from textbloom.report import directions
from textbloom.sampling import generator as trained

ROOT = Path(__file__).parents[2]
ALIGNMENT = {f"retrieval_at_{k}{suffix}" for k in (1, 10) for suffix in ("", "_real", "_shuffled")}
CONDITIONS = {
    "encoder", "encoder_sha256", "extractor", "image_size", "layer", "n_fake", "n_real", "seed", "split",
    "text_encoder", "text_encoder_sha256", "train_splits",
}  # fmt: skip
FIDELITY = {
    "frechet_distance", "floor", "n_floor", "class_gap", "kernel_distance", "kernel_distance_std", "precision",
    "recall", "diversity", "memorisation", "nearest_training", "nearest_training_real",
}  # fmt: skip
PERCEPTUAL = {"perceptual_diversity"}


def run_stage() -> dict[str, Any]:
    runpy.run_path(str(ROOT / "stages" / "evaluate.py"), run_name="__main__")
    return json.loads(config.EVAL_METRICS.read_text())


def sampling(make: Callable[[Tensor], Tensor], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the stage's generator be `make`, from embeddings to pictures."""

    class Stand:
        size = 64
        config: ClassVar = {"encoder": prepared_project.ENCODER, "pretrained": []}

        def noise(self, count: int, seed: int) -> Tensor:
            return Tensor()

        def sample(self, embeddings: Tensor, noise: Tensor) -> Tensor:
            return make(embeddings)

    monkeypatch.setattr(trained, "load_generator", lambda folder, which: Stand())


def test_the_stage_writes_one_flat_sorted_record_and_the_same_bytes_again(project):
    metrics = run_stage()
    first = config.EVAL_METRICS.read_bytes()
    assert set(metrics) == CONDITIONS | FIDELITY | ALIGNMENT | PERCEPTUAL
    assert list(metrics) == sorted(metrics)
    assert [name for name in metrics if directions.measure(name) is None] == []
    assert {key: metrics[key] for key in sorted(CONDITIONS)} == {
        "encoder": "any",
        "encoder_sha256": "0" * 64,
        "extractor": "coarse",
        "image_size": 64,
        "layer": "coarse",
        "n_fake": 110,
        "n_real": 110,
        "seed": 1,
        "split": "test",
        "text_encoder": "words",
        "text_encoder_sha256": "2" * 64,
        "train_splits": "train+val",
    }
    assert all(float(f"{value:.6g}") == value for value in metrics.values() if isinstance(value, float))
    run_stage()
    assert config.EVAL_METRICS.read_bytes() == first


def test_a_classifier_gives_a_score_of_its_logits_by_another_name(project):
    config.apply(None, ["evaluate.extractor=classifier"])
    prepared_project.write_real_features(project)
    metrics = run_stage()
    assert set(metrics) == CONDITIONS | FIDELITY | ALIGNMENT | PERCEPTUAL | {"logit_entropy_score"}
    assert 1 <= metrics["logit_entropy_score"] <= 11


def test_a_generator_that_paints_the_real_pictures_is_perfect(project, monkeypatch):
    sampling(flat_pictures, monkeypatch)
    metrics = run_stage()
    assert metrics["frechet_distance"] == pytest.approx(0, abs=1e-4)
    assert abs(metrics["kernel_distance"]) < 0.01
    assert (metrics["precision"], metrics["recall"]) == (1, 1)
    assert metrics["floor"] > 0
    for k in (1, 10):
        assert metrics[f"retrieval_at_{k}"] == metrics[f"retrieval_at_{k}_real"] > 0.9
    assert metrics["retrieval_at_10_shuffled"] == pytest.approx(0.1, abs=0.08)


def test_a_generator_that_paints_other_captions_keeps_its_fidelity_and_loses_its_retrieval(project, monkeypatch):
    sampling(lambda embeddings: flat_pictures(embeddings.roll(1, 0)), monkeypatch)
    metrics = run_stage()
    assert metrics["frechet_distance"] == pytest.approx(0, abs=1e-4)
    assert metrics["retrieval_at_10"] == pytest.approx(0.1, abs=0.08)
    assert metrics["retrieval_at_10_real"] > 0.9


def test_a_generator_that_always_paints_the_same_is_far_off(project, monkeypatch):
    sampling(lambda embeddings: flat_pictures(embeddings[:1]).repeat(len(embeddings), 1, 1, 1), monkeypatch)
    metrics = run_stage()
    assert metrics["frechet_distance"] > 3 * metrics["floor"]
    assert metrics["recall"] < 0.05
    assert metrics["retrieval_at_10"] < 0.3


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["evaluate.samples=121"], r"evaluate\.samples: 121 is more than the 120 test pictures"),
        (["evaluate.extractor=resnet"], r"evaluate\.extractor: 'resnet' is unknown; there are: classifier, clip"),
        (["evaluate.layer=9"], r"evaluate\.layer: coarse has no layer '9'"),
        (["evaluate.weights=w.pth"], r"evaluate\.weights: coarse takes no local file"),
        (["evaluate.extractor=classifier"], r"real_features\.safetensors is of another extractor.*`make repro`"),
    ],
)
def test_bad_parameters_are_refused_in_one_line_and_the_earlier_record_stays(project, overrides, message):
    write_json(config.EVAL_METRICS, {"earlier": 1})
    config.apply(None, overrides)
    with pytest.raises(SystemExit, match=message) as caught:
        run_stage()
    assert "\n" not in str(caught.value)
    assert json.loads(config.EVAL_METRICS.read_text()) == {"earlier": 1}


def test_too_few_training_pictures_are_refused(project):
    config.CAPTIONS.write_text(config.CAPTIONS.read_text().replace(",train,", ",test,", 21))
    with pytest.raises(SystemExit, match=r"evaluate\.samples: 110 is more than the 109 training pictures"):
        run_stage()


def hold_nothing_out() -> None:
    config.CAPTIONS.write_text(config.CAPTIONS.read_text().replace(",test,", ",train,"))


def test_without_held_out_pictures_a_half_of_the_training_ones_is_compared_and_the_record_says_so(project, monkeypatch):
    hold_nothing_out()
    sampling(flat_pictures, monkeypatch)
    metrics = run_stage()
    assert set(metrics) == CONDITIONS | FIDELITY | ALIGNMENT | PERCEPTUAL
    assert (metrics["split"], metrics["n_real"]) == ("train", 110)
    assert metrics["frechet_distance"] == pytest.approx(0, abs=1e-4)
    assert metrics["floor"] > 0
    config.apply(None, ["evaluate.samples=126"])
    with pytest.raises(SystemExit, match="126 is more than the 125 pictures in a half of the training ones; lower it"):
        run_stage()


def test_a_missing_generator_is_refused(project):
    (config.BASE / trained_folder.GENERATOR_EMA).unlink()
    with pytest.raises(SystemExit, match=r"generator-ema\.safetensors is missing"):
        run_stage()


def test_a_judge_that_trained_the_generator_is_refused_or_marks_every_measure_that_is_seen_through_it(project):
    description = config.BASE / trained_folder.CONFIG
    trained = json.loads(description.read_text())
    sha256 = extractor.load("coarse", None, None).sha256
    own = {"pretrained": [{"name": "coarse", "sha256": sha256}]}
    for teachers in ({**trained, **own}, {**trained, "encoder": {**trained["encoder"], **own}}):
        write_json(description, teachers)
        with pytest.raises(SystemExit, match=r"evaluate\.extractor: the generator learned from coarse.*choose another"):
            run_stage()
    config.apply(None, ["evaluate.allow_training_network=true"])
    assert set(run_stage()) == CONDITIONS | {f"{name}_selfjudged" for name in FIDELITY | ALIGNMENT} | PERCEPTUAL
    lite2 = {"name": diversity.NETWORK, "sha256": diversity.SHA256}
    write_json(description, {**trained, "pretrained": [lite2]})
    assert set(run_stage()) == CONDITIONS | FIDELITY | ALIGNMENT


def test_real_pictures_that_are_larger_are_reduced_and_the_record_and_a_line_say_so(project, monkeypatch, capsys):
    images = load_tensors(config.IMAGES)["images"]
    small = run_stage()
    save_tensors(config.IMAGES, {"images": images.repeat_interleave(2, 2).repeat_interleave(2, 3)})
    assert run_stage() == {**small, "reduced_from": 128}
    assert "real pictures of 128 pixels are compared at the generator's 64" in capsys.readouterr().err


def test_intervals_hold_their_values_and_the_curves_rise(project):
    metrics = run_stage()
    intervals = pd.read_csv(config.INTERVALS, index_col="metric")
    assert {"frechet_distance", "kernel_distance", "precision", "recall", "diversity", "retrieval_at_10"} <= set(
        intervals.index
    )
    for name, row in intervals.iterrows():
        assert row["low"] <= row["value"] <= row["high"] and row["value"] == pytest.approx(metrics[name], rel=1e-5)
    curves = pd.read_csv(config.MEMORISATION)
    assert list(curves) == ["quantile", "generated", "real"]
    assert (curves.diff().dropna() >= 0).all().all()
