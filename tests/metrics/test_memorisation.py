"""Nearness to training pictures: against a plain search, and what copying does to it."""

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from textbloom.features.extractor import Features
from textbloom.metrics import memorisation
from textbloom.metrics.base import Estimate, Evaluation


def cloud(count: int, seed: int) -> Tensor:
    return torch.randn(count, 6, generator=torch.Generator().manual_seed(seed))


TRAINING, REAL = cloud(2000, 1), cloud(400, 2)


def measured(fake: Tensor) -> dict[str, float]:
    real = SimpleNamespace(other_features=Features(TRAINING, None), compared=Features(REAL, None))
    nothing = torch.empty(0)
    no_network: frozenset[str] = frozenset()
    evaluation = Evaluation(real, nothing, Features(fake, None), nothing, nothing, nothing, no_network)  # type: ignore[arg-type]
    values = memorisation.measure(evaluation)
    return {name: value.value if isinstance(value, Estimate) else value for name, value in values.items()}


def test_the_nearest_is_found_among_all_parts_of_the_training_pictures():
    expected = torch.stack([(TRAINING - query).norm(dim=1).min() for query in REAL[:20]])
    torch.testing.assert_close(memorisation.nearest(REAL[:20], TRAINING), expected, rtol=1e-3, atol=1e-3)


def test_new_pictures_of_the_same_kind_copy_as_little_as_the_world_and_copies_are_seen_by_their_share():
    assert measured(cloud(400, 3))["memorisation"] == pytest.approx(0.05, abs=0.03)
    for share in (0.25, 1.0):
        copies = int(400 * share)
        fake = torch.cat([TRAINING[:copies] + 0.01 * cloud(copies, 4), cloud(400 - copies, 5)])
        assert measured(fake)["memorisation"] == pytest.approx(share + 0.05 * (1 - share), abs=0.03)


def test_a_copier_has_a_smaller_median_distance_than_real_pictures():
    found = measured(TRAINING[:400] + 0.01 * cloud(400, 4))
    assert found["nearest_training"] < 0.1 * found["nearest_training_real"]
