"""Intervals against closed forms and against what repeated experiments give."""

import pytest
import torch
from torch import Tensor

from textbloom.metrics.base import Estimate, Z, mean_of
from textbloom.metrics.fidelity import quick_frechet


def width(estimate: Estimate, seed: int = 0) -> float:
    low, high = estimate.interval(seed)
    assert (low + high) / 2 == pytest.approx(estimate.value)
    return high - low


def cloud(count: int, seed: int, shift: float = 0.0) -> Tensor:
    return torch.randn(count, 8, generator=torch.Generator().manual_seed(seed)) + shift


def test_a_means_interval_is_that_of_its_standard_error_and_narrows_with_the_root_of_the_number():
    values = cloud(400, 1)[:, 0]
    assert width(mean_of(values)) == pytest.approx(2 * Z * float(values.std()) / 400**0.5, rel=0.15)
    assert width(mean_of(values.repeat(16))) == pytest.approx(width(mean_of(values)) / 4, rel=0.2)


def test_a_constant_has_no_width():
    assert width(mean_of(torch.ones(50))) == 0


def test_a_seed_gives_the_same_interval():
    assert mean_of(cloud(60, 1)[:, 0]).interval(3) == mean_of(cloud(60, 1)[:, 0]).interval(3)


def test_a_distances_interval_is_as_wide_as_the_distances_of_new_samples_scatter():
    def sides(seed: int) -> tuple[Tensor, Tensor]:
        return cloud(200, 2 * seed, shift=0.7), cloud(200, 2 * seed + 1)

    scatter = torch.tensor([quick_frechet(*sides(seed)) for seed in range(60)]).std()
    fake, real = sides(1000)
    estimate = Estimate(
        quick_frechet(fake, real), lambda places: quick_frechet(fake[places], real[places]), 200, repeats=False
    )
    assert width(estimate) == pytest.approx(2 * Z * float(scatter), rel=0.35)
