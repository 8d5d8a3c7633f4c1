"""The evaluate stage in a tiny project: what it writes, what a perfect generator gets, and how it refuses."""

import json
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from support import prepared_project
from support.prepared_project import TRAIN, Classifier, Coarse, flat_pictures
from torch import Tensor
from torch_fidelity.registry import FEATURE_EXTRACTORS_REGISTRY

from textbloom import config
from textbloom.core import runtime, trained_folder
from textbloom.core.errors import UserError
from textbloom.core.files import write_json
from textbloom.core.tensors import load_tensors
from textbloom.dataset.eval_split import EvalSplit, load_eval_split
from textbloom.metrics import measures, named_colours
from textbloom.sampling import generator as trained

ROOT = Path(__file__).parents[2]
ALIGNMENT = {f"retrieval_at_{k}{suffix}" for k in (1, 10) for suffix in ("", "_real", "_shuffled")}
CONDITIONS = {"extractor", "image_size", "n_fake", "n_real", "seed", "split"}
FIDELITY = {"frechet_distance", "kernel_distance", "kernel_distance_std", "precision", "recall", "real_floor"}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A prepared project with an untrained generator, the working folder."""
    monkeypatch.setitem(FEATURE_EXTRACTORS_REGISTRY, "coarse", Coarse)
    monkeypatch.setitem(FEATURE_EXTRACTORS_REGISTRY, "classifier", Classifier)
    prepared_project.write(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run_stage() -> dict[str, Any]:
    runpy.run_path(str(ROOT / "stages" / "evaluate.py"), run_name="__main__")
    return json.loads(config.EVAL_METRICS.read_text())


def sampling(make: Callable[[Tensor], Tensor], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the stage's generator be `make`, from embeddings to pictures."""

    class Stand:
        size = 64

        def sample(self, embeddings: Tensor, seed: int) -> Tensor:
            return make(embeddings)

    monkeypatch.setattr(trained, "load_generator", lambda folder, which: Stand())


def test_the_stage_writes_one_flat_sorted_record_and_the_same_bytes_again(project):
    metrics = run_stage()
    first = config.EVAL_METRICS.read_bytes()
    assert set(metrics) == CONDITIONS | FIDELITY | ALIGNMENT
    assert list(metrics) == sorted(metrics)
    assert {key: metrics[key] for key in sorted(CONDITIONS)} == {
        "extractor": "coarse",
        "image_size": 64,
        "n_fake": 110,
        "n_real": 110,
        "seed": 1,
        "split": "test",
    }
    assert all(float(f"{value:.6g}") == value for value in metrics.values() if isinstance(value, float))
    run_stage()
    assert config.EVAL_METRICS.read_bytes() == first


def test_a_classifier_gives_an_inception_score_and_a_set_layer_is_recorded(project):
    config.apply(None, ["evaluate.extractor=classifier", "evaluate.layer=coarse"])
    metrics = run_stage()
    assert set(metrics) == CONDITIONS | FIDELITY | ALIGNMENT | {"inception_score", "layer"}
    assert metrics["layer"] == "coarse"
    assert 1 <= metrics["inception_score"] <= 11


def test_a_generator_that_paints_the_real_pictures_is_perfect(project, monkeypatch):
    sampling(flat_pictures, monkeypatch)
    metrics = run_stage()
    assert metrics["frechet_distance"] == pytest.approx(0, abs=1e-4)
    assert abs(metrics["kernel_distance"]) < 0.01
    assert (metrics["precision"], metrics["recall"]) == (1, 1)
    assert metrics["real_floor"] > 0
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
    assert metrics["frechet_distance"] > 3 * metrics["real_floor"]
    assert metrics["recall"] < 0.05
    assert metrics["retrieval_at_10"] < 0.3


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["evaluate.samples=121"], r"evaluate\.samples: 121 is more than the 120 test pictures"),
        (["evaluate.extractor=resnet"], r"evaluate\.extractor: 'resnet' is unknown; there are: classifier, clip"),
        (["evaluate.layer='9'"], r"evaluate\.layer: coarse has no layer '9'"),
        (["evaluate.weights=w.pth"], r"evaluate\.weights: coarse takes no local file"),
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
    config.CAPTIONS.write_text(config.CAPTIONS.read_text().replace(",train,", ",unused,", 21))
    with pytest.raises(SystemExit, match=r"evaluate\.samples: 110 is more than the 109 training pictures"):
        run_stage()


def hold_nothing_out() -> None:
    config.CAPTIONS.write_text(config.CAPTIONS.read_text().replace(",test,", ",train,"))


def test_without_held_out_pictures_a_half_of_the_training_ones_is_compared_and_the_record_says_so(project, monkeypatch):
    hold_nothing_out()
    sampling(flat_pictures, monkeypatch)
    metrics = run_stage()
    assert set(metrics) == CONDITIONS | FIDELITY | ALIGNMENT
    assert (metrics["split"], metrics["n_real"]) == ("train", 110)
    assert metrics["frechet_distance"] == pytest.approx(0, abs=1e-4)
    assert metrics["real_floor"] > 0
    config.apply(None, ["evaluate.samples=126"])
    with pytest.raises(SystemExit, match="126 is more than the 125 pictures in a half of the training ones; lower it"):
        run_stage()


def eval_split() -> EvalSplit:
    return load_eval_split(*config.PREPARED, split="test", train_splits=("train", "val"), seed=1, size=64)


def test_a_missing_generator_is_refused(project):
    (config.BASE / trained_folder.GENERATOR_EMA).unlink()
    with pytest.raises(SystemExit, match=r"generator-ema\.safetensors is missing"):
        run_stage()


def test_pictures_of_another_size_are_refused(project, monkeypatch):
    sampling(lambda embeddings: torch.zeros(len(embeddings), 3, 128, 128, dtype=torch.uint8), monkeypatch)
    with pytest.raises(SystemExit, match="makes pictures of 128 pixels, the data has 64"):
        run_stage()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_number_that_is_not_finite_is_refused_by_name(value):
    with pytest.raises(UserError, match=f"kernel_distance is {value}"):
        measures.finished({"split": "test", "recall": 0.5, "kernel_distance": value})


@pytest.fixture
def pictures(project: Path) -> measures.Compared:
    return measures.compared(eval_split(), 100, seed=1)


def test_of_very_many_other_pictures_a_seeded_part_is_looked_at(project, monkeypatch):
    sides = eval_split()
    assert len(measures.compared(sides, 100, seed=1).judged.others) == TRAIN
    monkeypatch.setattr(measures, "OTHERS", TRAIN - 20)
    chosen = [measures.compared(sides, 100, seed).judged.others.image_ids.tolist() for seed in (1, 1, 2)]
    assert chosen[0] == chosen[1] == sorted(chosen[0])
    assert chosen[0] != chosen[2]
    assert len(set(chosen[0])) == TRAIN - 20


def agreement(images: Tensor, names: list[str], which: str) -> float:
    """A stand-in for the measured colours: petals are named by their red, centres by their blue level."""
    levels = images[:, 0 if which == "petal" else 2, 0, 0].tolist()
    return sum(str(level) == name for level, name in zip(levels, names, strict=True)) / len(names)


def test_colours_are_compared_with_the_rows_of_the_same_image_id(pictures, monkeypatch):
    monkeypatch.setattr(named_colours, "colour_accuracy", agreement)
    images = load_tensors(config.IMAGES)["images"]
    rows = [f"{i + 1},{image[0, 0, 0]},{image[2, 0, 0]}" for i, image in enumerate(images)]
    table = Path("attributes.csv")
    table.write_text("\n".join(["image_id,petal_colour,centre_colour", *reversed(rows), ""]))
    found = named_colours.measure(pictures.images.roll(1, 0), pictures, table, 1)
    assert list(found) == [
        f"{which}_colour_accuracy{suffix}" for which in ("petal", "centre") for suffix in ("", "_real", "_shuffled")
    ]
    for which in ("petal", "centre"):
        assert found[f"{which}_colour_accuracy"] < 0.1
        assert found[f"{which}_colour_accuracy_real"] == 1
    perfect = named_colours.measure(pictures.images, pictures, table, 1)
    for which in ("petal", "centre"):
        assert perfect[f"{which}_colour_accuracy"] == 1
        assert perfect[f"{which}_colour_accuracy_shuffled"] < 0.1


def test_a_missing_table_or_row_of_attributes_is_refused(pictures):
    with pytest.raises(UserError, match=r"attributes\.csv is missing"):
        named_colours.measure(pictures.images, pictures, Path("attributes.csv"), 1)
    Path("attributes.csv").write_text("image_id,petal_colour,centre_colour\n1,red,blue\n")
    with pytest.raises(UserError, match=r"attributes\.csv lacks .*delete"):
        named_colours.measure(pictures.images, pictures, Path("attributes.csv"), 1)


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
