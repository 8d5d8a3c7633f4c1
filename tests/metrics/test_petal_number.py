"""Petals are counted in the drawn originals, however they are turned, and a generator of one shape is found out."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from textbloom.metrics.base import Estimate
from textbloom.metrics.petal_number import counted, measure


@pytest.fixture(scope="module")
def pictures(small: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(small)


@pytest.fixture(scope="module")
def right(flowers, pictures: torch.Tensor) -> torch.Tensor:
    """Whether each flower's petals are counted as they were drawn."""
    return counted(pictures) == torch.tensor([flower.petals for flower in flowers])


def values(generated: torch.Tensor, real: torch.Tensor, others: torch.Tensor, attributes: object = "given"):
    split = SimpleNamespace(others=SimpleNamespace(images=others))
    of_real = SimpleNamespace(images=real, split=split, seed=1, attributes=attributes)
    found = measure(SimpleNamespace(real=of_real, generated=generated))  # type: ignore[arg-type]
    return {name: value.value for name, value in found.items() if isinstance(value, Estimate)}


def test_nine_of_ten_are_counted_rightly(flowers, right):
    assert right.float().mean() > 0.88
    few = torch.tensor([flower.shape not in ("long", "heart-shaped") for flower in flowers])
    assert right[few].float().mean() > 0.95


def test_neither_colour_nor_a_turn_or_mirror_changes_the_count(pictures, right):
    for changed in (pictures.rot90(1, (2, 3)), pictures.flip(3), pictures.flip(1), 255 - pictures):
        assert (counted(changed) == counted(pictures))[right].float().mean() > 0.95


def test_the_distance_is_the_share_of_pictures_that_have_another_number(pictures, flowers, right):
    sure = pictures[right]
    numbers = counted(sure)
    fives, eights = sure[numbers == 5][:8], sure[numbers == 8][:8]
    assert values(fives, fives.flip(0), eights) == {"petal_number_distance": 0, "petal_number_distance_real": 1}
    assert values(torch.cat([fives[:6], eights[:2]]), fives, fives)["petal_number_distance"] == pytest.approx(2 / 8)


def test_one_shape_for_all_is_far_and_another_draw_near(pictures):
    one_shape = pictures[:1].expand(80, -1, -1, -1)
    assert values(one_shape, pictures[:80], pictures[80:])["petal_number_distance"] > 0.6
    assert values(pictures[80:], pictures[:80], pictures[80:])["petal_number_distance"] < 0.3


def test_of_photos_nothing_is_said(pictures):
    assert values(pictures, pictures, pictures, attributes=None) == {}
