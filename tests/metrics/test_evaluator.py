"""The evaluator's choices and refusals, and the colours of drawn flowers by the rows of their table."""

import csv
import json
from pathlib import Path

import pytest
import torch
from support import prepared_project
from support.prepared_project import TRAIN
from torch import Tensor

from textbloom import config
from textbloom.core.errors import UserError
from textbloom.core.tensors import load_image_ids, load_tensors, save_tensors
from textbloom.features import extractor
from textbloom.metrics import colour_accuracy, evaluator
from textbloom.metrics.base import Estimate, Evaluation
from textbloom.metrics.evaluator import Evaluator

COLOURS = {"red": [200, 20, 20], "green": [20, 200, 20], "blue": [20, 20, 200], "white": [240, 240, 240]}


def test_the_features_of_each_side_are_those_of_its_own_pictures(project):
    found = prepared_project.evaluator()
    for features, images in (
        (found.real.features, found.real.split.pictures.images.all()),
        (found.real.other_features, found.real.split.others.images.all()),
        (found.real.compared, found.real.images),
    ):
        assert torch.equal(features.features, found.extractor(images, "the same").features)


def test_what_the_judge_sees_in_a_picture_does_not_depend_on_the_batch(project):
    judge, images = extractor.load("efficientnet-lite0", None, None), torch.randint(0, 256, (9, 3, 64, 64)).byte()
    whole, parts = judge(images, "all"), [judge(part, "a part").features for part in images.split(4)]
    torch.testing.assert_close(torch.cat(parts), whole.features, rtol=1e-4, atol=1e-4)


def test_of_very_many_other_pictures_a_seeded_part_is_looked_at(project, monkeypatch):
    assert len(prepared_project.evaluator().real.split.others) == TRAIN
    monkeypatch.setattr(evaluator, "OTHERS", TRAIN - 20)
    chosen = [prepared_project.evaluator(seed=seed).real.split.others.image_ids.tolist() for seed in (1, 1, 2)]
    assert chosen[0] == chosen[1] == sorted(chosen[0])
    assert chosen[0] != chosen[2]
    assert len(set(chosen[0])) == TRAIN - 20


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_number_that_is_not_finite_is_refused_by_name(value):
    with pytest.raises(UserError, match=f"kernel_distance is {value}"):
        evaluator.rounded({"split": "test", "recall": 0.5, "kernel_distance": value})


@pytest.fixture
def plain(project: Path) -> Path:
    """The project with pictures of one colour each, and the folder with the table that says which."""
    names = [list(COLOURS)[number % len(COLOURS)] for number in range(len(load_image_ids(config.IMAGE_IDS)))]
    images = torch.tensor([COLOURS[name] for name in names], dtype=torch.uint8)[:, :, None, None].repeat(1, 1, 64, 64)
    save_tensors(config.IMAGES, {"images": images})
    folder = project / "drawn"
    folder.mkdir()
    with open(folder / "attributes.csv", "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["image_id", "petal_colour", "centre_colour"])
        table.writerows(reversed([(number, name, name) for number, name in enumerate(names, 1)]))
    ramps = {name: [colour] * 3 for name, colour in COLOURS.items()}
    palette = {"petal": ramps, "centre": ramps, "between_petals": [[0, 0, 0]]}
    (folder / "palette.json").write_text(json.dumps(palette))
    return folder


def measured(found: Evaluator, generated: Tensor) -> dict[str, float]:
    nothing = torch.empty(0)
    evaluation = Evaluation(found.real, generated, found.real.compared, nothing, nothing, nothing, frozenset())
    values = colour_accuracy.measure(evaluation)
    return {name: value.value for name, value in values.items() if isinstance(value, Estimate)}


def test_colours_are_compared_with_the_rows_of_the_same_image_id(plain):
    found = prepared_project.evaluator(attributes=plain)
    keys = [f"{part}_colour_accuracy{kind}" for part in ("petal", "centre") for kind in ("", "_real", "_shuffled")]
    right, swapped = measured(found, found.real.images), measured(found, found.real.images[:, [1, 2, 0]])
    assert list(right) == list(swapped) == keys
    for part in ("petal", "centre"):
        assert right[f"{part}_colour_accuracy"] == right[f"{part}_colour_accuracy_real"] == 1
        assert right[f"{part}_colour_accuracy_shuffled"] == pytest.approx(0.25, abs=0.12)
        assert swapped[f"{part}_colour_accuracy"] == pytest.approx(0.25, abs=0.12)  # white stays white
    assert measured(prepared_project.evaluator(), load_tensors(config.IMAGES)["images"]) == {}


def test_a_missing_table_palette_or_row_of_attributes_is_refused(plain):
    found = prepared_project.evaluator(attributes=plain)
    (plain / "attributes.csv").write_text("image_id,petal_colour,centre_colour\n1,red,blue\n")
    with pytest.raises(UserError, match=r"attributes\.csv lacks .*delete"):
        measured(found, found.real.images)
    for name in ("attributes.csv", "palette.json"):
        (plain / name).unlink()
        with pytest.raises(UserError, match=rf"{name} is missing"):
            measured(found, found.real.images)
