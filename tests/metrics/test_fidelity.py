"""The fidelity measures against closed forms, identities and torch-fidelity's own end-to-end run."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
import torch_fidelity
from torch import Tensor
from torch.utils.data import Dataset
from torch_fidelity import FeatureExtractorBase
from torch_fidelity.metric_kid import KEY_METRIC_KID_MEAN, kid_features_to_metric
from torch_fidelity.registry import FEATURE_EXTRACTORS_REGISTRY

from textbloom.features import extractor
from textbloom.metrics import fidelity


def exactly_normal(count: int, mean: list[float], spread: list[float], seed: int = 0) -> Tensor:
    """Samples whose own mean and (n − 1)-covariance are exactly `mean` and diag(spread²)."""
    raw = np.random.default_rng(seed).normal(size=(count, len(mean)))
    raw -= raw.mean(0)
    white = raw @ np.linalg.inv(np.linalg.cholesky(np.cov(raw, rowvar=False))).T
    return torch.from_numpy(white * spread + mean)


def cloud(count: int, dim: int = 8, shift: float = 0.0, seed: int = 0) -> Tensor:
    return torch.randn(count, dim, generator=torch.Generator().manual_seed(seed)) + shift


def test_the_frechet_distance_of_two_gaussians_is_the_closed_form():
    first = exactly_normal(200, [0.0, 1.0, 2.0], [1.0, 2.0, 0.5], seed=1)
    second = exactly_normal(300, [3.0, 1.0, 0.0], [2.0, 1.0, 0.5], seed=2)
    means, spreads = 3.0**2 + 2.0**2, 1.0 + 1.0
    assert fidelity.frechet_distance(first, second) == pytest.approx(means + spreads, rel=1e-6)


def test_the_frechet_distance_is_zero_on_itself_and_symmetric():
    first, second = cloud(100), cloud(120, shift=0.5, seed=1)
    assert fidelity.frechet_distance(first, first) == pytest.approx(0, abs=1e-4)
    assert fidelity.frechet_distance(first, second) == pytest.approx(fidelity.frechet_distance(second, first), rel=1e-4)


def test_fewer_samples_than_dimensions_still_give_the_frechet_distance():
    first, second = cloud(20, dim=50).double(), 2 * cloud(20, dim=50, shift=1.0, seed=1).double()
    # tr (Σ₁Σ₂)^½ is the nuclear norm of the centred samples' product: no root of a singular matrix is needed.
    x, y = ((features - features.mean(0)) / np.sqrt(len(features) - 1) for features in (first, second))
    cross = torch.linalg.matrix_norm(x @ y.T, ord="nuc")
    expected = (first.mean(0) - second.mean(0)).square().sum() + x.square().sum() + y.square().sum() - 2 * cross
    assert fidelity.frechet_distance(first, second) == pytest.approx(expected.item(), rel=1e-4)


@pytest.mark.parametrize(("count", "dim"), [(60, 8), (40, 90)])
def test_the_quick_distances_are_those_of_torch_fidelity(count: int, dim: int):
    fake, real = cloud(count, dim, seed=1), cloud(count, dim, shift=0.5)
    expected = fidelity.frechet_distance(fake.double(), real.double())
    assert fidelity.quick_frechet(fake, real) == pytest.approx(expected, rel=1e-4)
    # One subset of all pictures is what torch-fidelity's mean over subsets estimates.
    kernel = kid_features_to_metric(fake, real, kid_subset_size=count, kid_subsets=1, verbose=False)
    assert fidelity.unbiased_kernel_distance(fake, real) == pytest.approx(kernel[KEY_METRIC_KID_MEAN], rel=1e-3)


def test_the_floor_falls_as_one_over_the_number_of_pictures():
    everything = cloud(8000)
    found = [fidelity.floor(everything, size, seed=0) for size in (250, 500, 1000, 2000)]
    for larger, smaller in pairwise(found):
        assert larger / smaller == pytest.approx(2, rel=0.2)


@pytest.mark.parametrize("decay", [0.5, 2.0])
def test_a_floor_extrapolated_from_a_small_split_is_near_that_of_a_large_one(decay: float):
    everything = cloud(800, dim=300) * torch.logspace(0, -decay, 300)
    measured, extrapolated = (fidelity.floor(part, 200, seed=0) for part in (everything, everything[:300]))
    halves = fidelity.floor(everything[:300], 150, seed=0)
    assert measured <= extrapolated == pytest.approx(measured, rel=0.08)
    assert abs(extrapolated - measured) < 0.5 * abs(halves - measured)


def test_the_kernel_distance_is_about_zero_for_one_distribution_and_grows_with_the_shift():
    real = cloud(400)
    found = [fidelity.kernel_distance(cloud(400, shift=shift, seed=1), real, seed=0)[0] for shift in (0.0, 0.3, 0.6)]
    assert abs(found[0]) < 0.02 < found[1] < found[2]


def test_the_kernel_distance_repeats_for_a_seed_and_moves_with_it():
    fake, real = cloud(100, seed=1), cloud(100)
    assert fidelity.kernel_distance(fake, real, 3) == fidelity.kernel_distance(fake, real, 3)
    assert fidelity.kernel_distance(fake, real, 3) != fidelity.kernel_distance(fake, real, 4)


def test_precision_and_recall_equal_the_definition():
    fake, real = cloud(60, dim=3, seed=1), cloud(80, dim=3, shift=0.7)

    def inside(points: Tensor, manifold: Tensor) -> float:
        balls = [sorted(torch.dist(m, other).item() for other in manifold)[3] for m in manifold]
        hits = [any(torch.dist(p, m) <= r for m, r in zip(manifold, balls, strict=True)) for p in points]
        return sum(hits) / len(hits)

    expected = (inside(fake, real), inside(real, fake))
    assert 0 < expected[1] != expected[0] < 1
    assert fidelity.precision_recall(fake, real) == pytest.approx(expected, abs=0.02)


def test_a_collapsed_generator_keeps_its_precision_and_loses_its_recall():
    real = cloud(100, dim=2)
    collapsed = real[:1] + 1e-3 * cloud(100, dim=2, seed=1)
    precision, recall = fidelity.precision_recall(collapsed, real)
    assert precision == 1
    assert recall <= 0.02


def test_the_inception_score_is_one_for_one_class_and_near_the_number_of_balanced_certain_classes():
    classes = torch.arange(5).repeat(400)
    certain = 50.0 * torch.nn.functional.one_hot(classes, 20)
    assert fidelity.inception_score(certain[classes == 2], 0) == pytest.approx(1)
    assert 4.8 < fidelity.inception_score(certain, 0) <= 5 + 1e-6
    assert fidelity.inception_score(torch.zeros(200, 20), 0) == pytest.approx(1)


class Pictures(Dataset[Tensor]):
    def __init__(self, images: Tensor) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Tensor:
        return self.images[index]


class Coarse(FeatureExtractorBase):
    """A quick extractor: the picture at 3 × 3, and class scores made of it."""

    def __init__(self, name: str, features_list: list[str], **_: Any) -> None:
        super().__init__(name, features_list)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        pooled = torch.nn.functional.adaptive_avg_pool2d(images.float() / 255, 3).flatten(1)
        layers = {"coarse": pooled, "logits": 20 * pooled[:, :9]}
        return tuple(layers[layer] for layer in self.features_list)

    @staticmethod
    def get_provided_features_list() -> tuple[str, ...]:
        return "coarse", "logits"

    @staticmethod
    def get_default_feature_layer_for_metric(metric: str) -> str:
        return "logits" if metric == "isc" else "coarse"


@pytest.fixture
def coarse(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setitem(FEATURE_EXTRACTORS_REGISTRY, "coarse", Coarse)
    return "coarse"


def random_pictures(count: int, seed: int) -> Tensor:
    small = torch.rand(count, 3, 4, 4, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(small, 32, mode="bilinear").mul(255).to(torch.uint8)


def end_to_end(extractor: str, fake: Tensor, real: Tensor, **options: Any) -> dict[str, float]:
    """What torch-fidelity itself makes of the pictures."""
    settings = {"cuda": torch.cuda.is_available(), "cache": False, "save_cpu_ram": True, "verbose": False}
    return torch_fidelity.calculate_metrics(
        input1=Pictures(fake), input2=Pictures(real), feature_extractor=extractor, rng_seed=7, **settings, **options
    )


def test_all_measures_equal_torch_fidelity_run_end_to_end_on_the_same_pictures(coarse):
    fake, real = random_pictures(120, 1), random_pictures(120, 2) // 2
    judge = extractor.load(coarse, None, None)
    seen, target = judge(fake, "fake"), judge(real, "real")
    assert seen.logits is not None
    expected = end_to_end(coarse, fake, real, isc=True, fid=True, kid=True, prc=True, kid_subset_size=60)
    kernel, spread = fidelity.kernel_distance(seen.features, target.features, 7)
    precision, recall = fidelity.precision_recall(seen.features, target.features)
    assert {
        "frechet_inception_distance": fidelity.frechet_distance(seen.features, target.features),
        "kernel_inception_distance_mean": kernel,
        "kernel_inception_distance_std": spread,
        "precision": precision,
        "recall": recall,
        "inception_score_mean": fidelity.inception_score(seen.logits, 7),
    } == pytest.approx({k: v for k, v in expected.items() if k not in ("f_score", "inception_score_std")}, rel=1e-4)


def test_efficientnet_lite0_works_inside_torch_fidelity_too():
    fake, real = random_pictures(10, 1), random_pictures(10, 2) // 2
    judge = extractor.load("efficientnet-lite0", None, None)
    seen, target = judge(fake, "fake"), judge(real, "real")
    expected = end_to_end("efficientnet-lite0", fake, real, kid=True, kid_subset_size=5)
    kernel, _ = fidelity.kernel_distance(seen.features, target.features, 7)
    assert kernel == pytest.approx(expected["kernel_inception_distance_mean"], rel=1e-3)
