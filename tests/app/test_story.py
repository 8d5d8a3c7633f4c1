"""The lecture's story: each step differs from the one before in what its name says, and the last is system A."""

import json
from itertools import pairwise

import pytest

from textbloom import config
from textbloom.app import story
from textbloom.core.errors import UserError


def settings(name: str) -> dict[str, object]:
    preset, changed = story.STEPS[name]
    text = config.changed(preset, changed)
    return config.flat(config.parse(text, "story").model_dump())


def test_each_step_adds_one_thing_to_the_step_before_and_the_last_is_system_a():
    added = []
    for before, after in pairwise(map(settings, story.STEPS)):
        added.append({key: value for key, value in after.items() if value != before[key]})
    assert added == [
        {"model.discriminator_text": True},
        {"objective.matching_aware": True},
        {"objective.pixel_l1": 50.0},
        {"objective.feature_matching": 100.0},
    ]
    plain = config.flat(config.parse(config.changed("drawn-dcgan-bert", []), "story").model_dump())
    assert settings("feature matching") == plain


@pytest.mark.slow
def test_the_story_is_trained_and_compared(tmp_path, monkeypatch):
    monkeypatch.setattr(story, "FOLDER", tmp_path)
    tiny = ["drawn.count=600", "train.epochs=1", "model.features=8", "evaluate.samples=100"]
    monkeypatch.chdir(".")  # the comparison is made in another folder
    story.tell([1], tiny)
    found = json.loads((tmp_path / "comparison.json").read_text())
    assert set(found["systems"]) == set(story.STEPS) and set(found["runs"].values()) == {1}
    assert (tmp_path / "comparison.png").stat().st_size > 10_000


@pytest.mark.slow
def test_a_step_that_fails_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(story, "FOLDER", tmp_path)
    with pytest.raises(UserError, match="plain GAN, seed 1"):
        story.tell([1], ["drawn.count=3"])
