"""How close generated pictures are to real ones: torch-fidelity's measures on features already extracted.

Every number depends on the features it is taken in: compare only where `extractor`, `layer`, `image_size` and `n_fake`
are equal. None of them looks at the captions: a generator that ignores its text can score well on all.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_features_to_statistics, fid_statistics_to_metric
from torch_fidelity.metric_isc import KEY_METRIC_ISC_MEAN, isc_features_to_metric
from torch_fidelity.metric_kid import KEY_METRIC_KID_MEAN, KEY_METRIC_KID_STD, kid_features_to_metric
from torch_fidelity.metric_prc import KEY_METRIC_PRECISION, KEY_METRIC_RECALL, prc_features_to_metric

from textbloom.core.seeding import random_subset, seed_for
from textbloom.metrics.base import Estimate, Evaluation, Values

ISC_SPLITS = 10
KID_SUBSET_LIMIT = 1000  # the published subset size (Bińkowski et al. 2018)
NEIGHBOURHOOD = 3  # the published k (Kynkäänniemi et al. 2019)
FLOORS = 10  # pairs of sets whose distances the floor is the mean of


def measure(evaluation: Evaluation) -> Values:
    """Distances, precision and recall between generated and real pictures, and what distance real pictures reach.

    `floor`: the Fréchet distance of two disjoint sets of n pictures of the same split, which a perfect generator would
    reach, extrapolated from sets of `n_floor` where the split holds fewer than 2n.
    `class_gap`: that of the compared pictures and as many others, whose classes are different ones where classes are
    held out. `inception_score` is given where the judge is Inception, `logit_entropy_score` where it is another
    classifier.
    """
    real, fake = evaluation.real.compared.features, evaluation.features
    # torch-fidelity seeds numpy's older generator, which takes 32 bits.
    seed = seed_for(evaluation.real.seed, "torch-fidelity") % 2**32
    kernel, spread = kernel_distance(fake.features, real, seed)
    precision, recall = precision_recall(fake.features, real)
    others = evaluation.real.other_features.features
    other = others[random_subset(len(others), len(real), evaluation.real.seed, "other classes").sort().values]
    everything = evaluation.real.features.features

    def estimate(value: float, of: Callable[[Tensor, Tensor], float]) -> Estimate:
        return Estimate(value, lambda places: of(fake.features[places], real[places]), len(real), repeats=False)

    metrics: dict[str, float | Estimate] = {
        "frechet_distance": estimate(frechet_distance(fake.features, real), quick_frechet),
        "floor": floor(everything, len(real), evaluation.real.seed),
        "n_floor": min(len(real), len(everything) // 2),
        "class_gap": frechet_distance(other, real),
        "kernel_distance": estimate(kernel, unbiased_kernel_distance),
        "kernel_distance_std": spread,
        "precision": estimate(precision, lambda a, b: precision_recall(a, b)[0]),
        "recall": estimate(recall, lambda a, b: precision_recall(a, b)[1]),
    }
    if fake.logits is not None:
        name = "inception_score" if evaluation.inception else "logit_entropy_score"
        metrics[name] = inception_score(fake.logits, seed)
    return metrics


def floor(features: Tensor, count: int, seed: int) -> float:
    """The Fréchet distance of two disjoint sets of `count` pictures each, out of one set of features [N, F].

    It is what one distribution has from itself for want of samples, the mean over FLOORS draws, and falls as 1/count
    once there are more pictures than the features have effective dimensions. Where the set holds fewer than 2·count
    pictures, its halves are measured, and halves of these, and the power law through both gives the value at `count`.
    """

    def measured(size: int) -> float:
        orders = [random_subset(len(features), 2 * size, seed, "floor", turn) for turn in range(FLOORS)]
        return sum(quick_frechet(features[order[:size]], features[order[size:]]) for order in orders) / FLOORS

    size = min(count, len(features) // 2)
    value = measured(size)
    if size == count:
        return value
    exponent = math.log(measured(size // 2) / value) / math.log(size / (size // 2))
    return value * (size / count) ** exponent


def quick_frechet(features_1: Tensor, features_2: Tensor) -> float:
    """`frechet_distance` of features [m, F] each, without the root of an F×F matrix: for many of few pictures.

    tr (Σ₁Σ₂)^½ is the sum of the singular values of X₁X₂ᵀ / (m − 1), with X the centred features.
    """
    x, y = features_1.double(), features_2.double()
    means = (x.mean(0) - y.mean(0)).square().sum()
    x, y = x - x.mean(0), y - y.mean(0)
    spreads = x.square().sum() + y.square().sum()
    if x.shape[0] > x.shape[1]:  # the triangular factor has the same inner products between features in fewer rows
        x, y = (torch.linalg.qr(z, mode="r").R for z in (x, y))
    cross = torch.linalg.svdvals(x @ y.T).sum()
    return float(means + (spreads - 2 * cross) / (len(features_1) - 1))


def unbiased_kernel_distance(fake: Tensor, real: Tensor) -> float:
    """What `kernel_distance` is the mean of over subsets, from all pictures at once (Gretton et al. 2012, eq. 3)."""
    m, dim = fake.shape

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        return (a.double() @ b.double().T / dim + 1) ** 3

    within = [kernel(features, features) for features in (fake, real)]
    same = sum(float(values.sum() - values.trace()) for values in within) / (m * (m - 1))
    return same - 2 * float(kernel(fake, real).mean())


def frechet_distance(features_1: Tensor, features_2: Tensor) -> float:
    """Fréchet distance of two Gaussians fitted to features [N, F] and [M, F]: 0 and up, lower is closer.

    It is FID (Heusel et al. 2017, arXiv 1706.08500, eq. 6) where the features are Inception's 2048, and only there. The
    fewer the samples, the more it is biased upward: below some thousands read it beside the distance of two sets of
    real pictures of the same size (`floor`), and never beside a value at another size.
    """
    statistics = [fid_features_to_statistics(features) for features in (features_1, features_2)]
    return float(fid_statistics_to_metric(*statistics, verbose=False)[KEY_METRIC_FID])


def kernel_distance(fake: Tensor, real: Tensor, seed: int) -> tuple[float, float]:
    """Squared maximum mean discrepancy under a cubic kernel, features [N, F] each: its mean and spread over subsets.

    It is KID on Inception's 2048 (Bińkowski et al. 2018, arXiv 1801.01401, section 4). Its expectation does not depend
    on the number of samples, so it can fall slightly below 0 for equal distributions. The 100 random subsets (half the
    pictures each, at most 1000) overlap: the spread says how much a subset sways the value, and is no standard error.
    """
    size = min(KID_SUBSET_LIMIT, len(fake) // 2, len(real) // 2)
    found = kid_features_to_metric(fake, real, kid_subset_size=size, rng_seed=seed, verbose=False)
    return float(found[KEY_METRIC_KID_MEAN]), float(found[KEY_METRIC_KID_STD])


def precision_recall(fake: Tensor, real: Tensor) -> tuple[float, float]:
    """Share of fakes inside the real manifold, and of reals inside the fake one, features [N, F]; each 0 to 1.

    Improved precision and recall (Kynkäänniemi et al. 2019, arXiv 1904.06991, eq. 2): a set's manifold is the union of
    balls around its members that reach the third nearest neighbour. One outlier's ball can cover many pictures, and
    both numbers move with the number of samples; real pictures against real ones do not reach 1 either.
    """
    found = prc_features_to_metric(fake, real, prc_neighborhood=NEIGHBOURHOOD, verbose=False)
    return float(found[KEY_METRIC_PRECISION]), float(found[KEY_METRIC_RECALL])


def inception_score(logits: Tensor, seed: int) -> float:
    """exp of the mean divergence of p(class | picture) from p(class), logits [N, C]: 1 to the smaller of N / 10 and C.

    Salimans et al. 2016, arXiv 1606.03498, section 4, the mean of ten parts. It rewards pictures that look clearly like
    one of ImageNet's classes, and together like many; few of those are flowers, so here it says little. It never looks
    at real pictures. Published values are of Inception's classifier: those of another one do not compare with them.
    """
    return float(isc_features_to_metric(logits, splits=ISC_SPLITS, rng_seed=seed)[KEY_METRIC_ISC_MEAN])
