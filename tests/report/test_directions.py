"""Every number that an evaluation gives has an entry in the table of directions."""

import json
from pathlib import Path

import pytest

from textbloom.report.directions import Kind, changed_conditions, gain, measure

ROOT = Path(__file__).parents[2]


def test_every_value_of_the_committed_evaluations_is_in_the_table():
    files = [ROOT / "metrics/eval.json", *ROOT.glob("docs/results/*/eval*.json")]
    names = {name for file in files for name in json.loads(file.read_text(encoding="utf-8"))}
    assert {name for name in names if measure(name) is None} == set()


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("frechet_distance", Kind.LOWER),
        ("frechet_distance_selfjudged", Kind.LOWER),
        ("petal_colour_accuracy", Kind.HIGHER),
        ("petal_colour_accuracy_shuffled", Kind.REFERENCE),
        ("retrieval_at_1_real", Kind.REFERENCE),
        ("n_real", Kind.CONDITION),
        ("encoder", Kind.CONDITION),
        ("floor", Kind.REFERENCE),
    ],
)
def test_what_a_name_means(name, kind):
    entry = measure(name)
    assert entry is not None and entry.kind is kind


def test_a_gain_is_positive_for_better_and_none_where_nothing_is_better():
    assert gain("frechet_distance", 3, 1) == gain("recall", 1, 3) == 2
    assert (
        gain("recall_real", 1, 2) is gain("seed", 1, 2) is gain("unheard_of", 1, 2) is gain("recall", None, 2) is None
    )


def test_only_conditions_make_two_evaluations_incomparable():
    old = {"extractor": "a", "n_fake": 100, "recall": 0.1}
    assert changed_conditions(old, {**old, "recall": 0.9}) == []
    assert changed_conditions(old, {"extractor": "b", "recall": 0.1}) == ["extractor", "n_fake"]
