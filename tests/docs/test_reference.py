"""docs/reference.md is what the code says today."""

from pathlib import Path

from textbloom.report import reference

ROOT = Path(__file__).parents[2]


def test_the_reference_is_that_of_the_code_and_names_every_key(monkeypatch):
    monkeypatch.chdir(ROOT)
    page = reference.reference()
    assert page == reference.REFERENCE.read_text(encoding="utf-8"), "run `make reference`"
    assert "| `train.beta1` | `0.0` |" in page and "| refine, train |" in page.split("`train.beta1`")[1].split("\n")[0]
    assert "| `frechet_distance` |" in page
