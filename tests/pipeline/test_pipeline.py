"""The pipeline as DVC runs it, in a temporary clone with a tiny configuration: cached, reproducible, experimentable."""

import json

import pytest
from support.dvc_project import BIN, STAGES, Project, ran

from textbloom import config


@pytest.fixture(scope="module")
def project(built, tmp_path_factory) -> Project:
    return built.copy(tmp_path_factory.mktemp("project"))


def test_every_output_is_there_and_git_holds_no_data(project):
    for stage in STAGES:
        assert [path for path in project.outputs(stage) if not path.exists()] == []
    tracked = project.run("git", "ls-files").splitlines()
    assert "dvc.lock" in tracked and "metrics/eval.json" in tracked and "plots/samples.png" in tracked
    assert not [name for name in tracked if name.startswith(("data/", "models/", "metrics/provenance"))]
    assert not list(project.folder.rglob(".partial-*"))


def test_every_stage_notes_its_seconds_and_its_memory_where_git_does_not_look(project):
    for stage in STAGES:
        noted = json.loads(project.text(f"metrics/provenance/{stage}.json"))
        assert noted["seconds"] >= 0 and 30 < noted["memory_mib"] < 10_000, stage
    assert {"versions", "device", "images_per_second"} <= set(json.loads(project.text("metrics/provenance/train.json")))
    project.run("git", "diff", "--exit-code")


def test_the_metrics_are_flat_sorted_and_never_call_it_fid(project):
    metrics = json.loads(project.text("metrics/eval.json"))
    assert list(metrics) == sorted(metrics)
    assert not [value for value in metrics.values() if isinstance(value, dict | list)]
    wanted = {"extractor", "frechet_distance", "kernel_distance", "kernel_distance_std", "precision", "recall"}
    wanted |= {f"retrieval_at_{k}{kind}" for k in (1, 10) for kind in ("", "_real", "_shuffled")}
    wanted |= {"floor", "class_gap", "n_real", "n_fake", "image_size", "split", "seed", "petal_colour_accuracy"}
    assert wanted <= set(metrics)
    assert not [name for name in metrics if "fid" in name.lower()]
    assert metrics["n_real"] == metrics["n_fake"] == 100


def test_a_second_run_does_nothing(project):
    output = project.run("dvc", "repro")
    assert ran(output) == []
    assert "up to date" in output


def test_an_experiment_runs_only_what_reads_the_key_and_the_way_back_runs_nothing(project):
    before, rate = project.text("metrics/eval.json"), config.load(project.folder / config.PARAMS).train.lr
    assert ran(project.run("dvc", "exp", "run", "-S", "train.lr=1e-5")) == ["train", "evaluate", "sample"]
    assert "lr: 1e-05" in project.text("params.yaml")
    assert "train.lr" in project.run("dvc", "params", "diff")
    assert "frechet_distance" in project.run("dvc", "metrics", "diff")
    assert "index.html" in project.run("dvc", "plots", "diff")
    assert project.text("metrics/eval.json") != before

    output = project.run("dvc", "exp", "run", "-S", f"train.lr={rate}")
    assert ran(output) == []
    assert project.text("metrics/eval.json") == before
    project.run("git", "diff", "--exit-code", "--", "dvc.lock", "metrics", "plots")


def test_an_experiment_in_a_copy_uses_that_copys_code(project):
    mark = "print('this is the code of the copy')\n"
    script = project.folder / "src/textbloom/viz/preview.py"
    original = script.read_text(encoding="utf-8")
    script.write_text(original + mark, encoding="utf-8")
    try:
        cold = Project(project.folder)
        said = cold.run("dvc", "exp", "run", "--temp", "-S", "sample.rows=2", "preview")
        assert "this is the code of the copy" in said
    finally:
        script.write_text(original, encoding="utf-8")
    assert "rows: 4 " in project.text("params.yaml")


def test_a_failed_stage_says_one_line_and_its_earlier_outputs_stay(project):
    (project.folder / ".venv").symlink_to(BIN.parent)
    outputs = [
        "models/base/config.json",
        "models/base/generator-ema.safetensors",
        "metrics/train.json",
        "plots/losses.csv",
    ]
    good = {name: (project.folder / name).read_bytes() for name in [*outputs, "dvc.lock"]}
    make = ("make", "-o", "setup", "repro")
    output = project.run(*make, "SET=train.batch_size=4096", succeeds=False)
    errors = [line for line in output.splitlines() if line.startswith("error:")]
    assert len(errors) == 1
    assert "train.batch_size: 4096 is more than the" in errors[0]
    assert "Traceback" not in output
    assert {name: (project.folder / name).read_bytes() for name in good} == good
    assert ran(project.run(*make, "SET=train.batch_size=128")) == []


def test_an_unknown_key_or_preset_stops_make_before_any_stage_and_changes_nothing(project):
    before = project.text("params.yaml")
    for argument, said in [("SET=train.speed=1", "train.speed: unknown key"), ("PRESET=roses", "'roses' is unknown")]:
        output = project.run("make", "-o", "setup", "repro", argument, succeeds=False)
        assert f"{said}" in output
        assert ran(output) == []
    assert project.text("params.yaml") == before
