"""The README's results are those of the committed run, and its tables name what there is."""

import json
import re
import subprocess

import pytest
import yaml
from support.dvc_project import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
PYPROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def rows(first_cell: str) -> list[list[str]]:
    """The cells of the table whose heading begins with `first_cell`, row by row."""
    table = re.search(rf"^\| {re.escape(first_cell)}.*?(?=\n\n|\n?\Z)", README, re.M | re.S)
    assert table, first_cell
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table[0].splitlines()[2:]]


def committed(path: str) -> dict:
    return json.loads((ROOT / path).read_text(encoding="utf-8"))


def assert_printed(value: float | str | None, cell: str, name: str) -> None:
    """The cell holds the value to as many digits as it shows; `**` is for the best of a row."""
    printed, where = cell.strip("*"), f"README.md, {name}: the value is {value}"
    if isinstance(value, int | float) and printed:
        digits = len(printed.partition(".")[2])
        assert abs(float(printed) - value) <= 0.500001 * 10.0**-digits, where
    else:
        assert printed == (value or ""), where


def test_the_drawn_results_are_those_of_metrics_eval_json():
    changed = subprocess.run(["git", "diff", "--quiet", "HEAD", "--", "metrics/eval.json"], cwd=ROOT, check=False)
    if changed.returncode:
        pytest.skip("metrics/eval.json is of a run that is not committed")
    measured = committed("metrics/eval.json")
    of_a = committed("docs/results/drawn-dcgan-bert/eval.json")
    for _, key, generated, by_a, real, chance in rows("drawn flowers, 64×64"):
        name = key.strip("`")
        assert_printed(measured[name], generated, name)
        assert_printed(of_a.get(name), by_a, f"{name}, system A")
        assert_printed(of_real(measured, name), real, f"{name}, real pictures")
        assert_printed(measured.get(f"{name}_shuffled"), chance, f"{name}, chance")


def of_real(measured: dict, name: str) -> float | None:
    """What real pictures reach: of the Fréchet distance the floor, which earlier runs called real_floor."""
    floor = measured.get("floor", measured.get("real_floor")) if name == "frechet_distance" else None
    return measured.get(f"{name}_real", floor)


ROWS = {
    "Fréchet distance, Inception's 768": "frechet_distance",
    "kernel distance, the same features": "kernel_distance",
    "precision": "precision",
    "recall": "recall",
    "variety of pictures of one caption": "diversity",
    "caption in the top 10 of 100": "retrieval_at_10",
    "caption in the top 1 of 100": "retrieval_at_1",
}


def test_the_results_on_real_flowers_are_those_of_their_comparison():
    table = rows("Oxford-102 Flowers, 64×64")
    assert {row[0] for row in table} == set(ROWS)
    systems = committed("docs/results/flowers102-systems/comparison.json")["systems"].values()
    first = next(iter(systems))
    for label, *generated, real, chance in table:
        name = ROWS[label]
        for system, cell in zip(systems, generated, strict=True):
            assert_printed(system[name], cell, label)
        assert_printed(of_real(first, name), real, f"{label}, real pictures")
        assert_printed(first.get(f"{name}_shuffled"), chance, f"{label}, chance")


def test_the_table_of_stages_is_dvc_yaml():
    pipeline = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    table = {name: written for name, _, written in rows("stage")}
    assert list(table) == list(pipeline)
    for name, stage in pipeline.items():
        stage = stage.get("do", stage)
        made = [out for kind in ("outs", "metrics", "plots") for out in stage.get(kind, [])]
        names = [next(iter(out)) if isinstance(out, dict) else out for out in made]
        if name == "sample":
            assert all(path.startswith("plots/") for path in names)
        else:
            written = {path.strip("`/").replace("<dataset>", "${data.dataset}") for path in table[name].split(", ")}
            assert written == set(names), name


def test_every_preset_has_its_row():
    named = {name for cells in rows("preset") for name in re.findall(r"`([\w-]+)`", cells[0])}
    assert named == {path.stem for path in (ROOT / "presets").glob("*.yaml")}


def test_every_package_has_its_row():
    declared = set(re.findall(r'"([\w.-]+)(?:==[\w.]+)?"', re.search(r"dependencies = \[.*?\]", PYPROJECT, re.S)[0]))
    developed = set(re.findall(r'"([\w.-]+)"', re.search(r"^dev = \[.*?\]", PYPROJECT, re.M | re.S)[0]))
    named = {name for cells in rows("package") for name in cells[0].split(", ")}
    typed = {name for name in developed if name.startswith("types-") or name.endswith("-stubs")}
    assert named == (declared | developed) - typed


def test_what_is_written_by_hand_is_there():
    for cells in rows("file"):
        for name in re.findall(r"`([\w/.]+)`", cells[0]):
            assert (ROOT / "src/textbloom" / name).is_file(), name
