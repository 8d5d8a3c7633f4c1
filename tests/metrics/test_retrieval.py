"""Retrieval and its probe: identities, a literal re-drawing, and relations that are known by construction."""

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from textbloom.core.errors import UserError
from textbloom.core.seeding import derangement
from textbloom.metrics import retrieval


def unit(count: int, dim: int, seed: int) -> Tensor:
    return normalize(torch.randn(count, dim, generator=torch.Generator().manual_seed(seed)), dim=1)


def pairs(count: int, noise: float, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Features that are a fixed linear map of their captions' embeddings, and noise."""
    stream = torch.Generator().manual_seed(seed)
    embeddings = torch.randn(count, 12, generator=stream)
    mixing = torch.randn(12, 30, generator=torch.Generator().manual_seed(99))
    return embeddings @ mixing + noise * torch.randn(count, 30, generator=stream), embeddings


def mean_retrieval(pictures: Tensor, vectors: Tensor, own: Tensor) -> dict[str, float]:
    return {name: float(found.mean()) for name, found in retrieval.retrieval(pictures, vectors, own).items()}


def retrieval_of(probe: retrieval.Probe, features: Tensor, embeddings: Tensor) -> dict[str, float]:
    return mean_retrieval(probe.pictures(features), probe.texts(embeddings), torch.arange(len(features)))


def test_pictures_that_point_at_their_captions_retrieve_them_and_opposite_ones_never():
    vectors = unit(150, 8, seed=1)
    own = torch.arange(150)
    assert mean_retrieval(vectors, vectors, own) == {"retrieval_at_1": 1.0, "retrieval_at_10": 1.0}
    assert mean_retrieval(-vectors, vectors, own) == {"retrieval_at_1": 0.0, "retrieval_at_10": 0.0}


def test_blind_pictures_retrieve_at_chance():
    found = mean_retrieval(unit(4000, 8, seed=1), unit(300, 8, seed=2), torch.arange(4000) % 300)
    assert found["retrieval_at_1"] == pytest.approx(0.01, abs=0.004)
    assert found["retrieval_at_10"] == pytest.approx(0.10, abs=0.015)


def test_retrieval_is_the_mean_over_draws_of_ninety_nine_other_captions():
    vectors = unit(140, 6, seed=1)
    own = torch.arange(140)
    pictures = normalize(vectors + 1.5 * unit(140, 6, seed=3), dim=1)
    similarity = pictures @ vectors.T
    stream = torch.Generator().manual_seed(0)
    hits = {1: 0, 10: 0}
    draws = 100
    for _ in range(draws):
        for i in range(len(pictures)):
            others = torch.randperm(139, generator=stream)[:99]
            others = others + (others >= i)
            rank = 1 + int((similarity[i, others] > similarity[i, i]).sum())
            for k in hits:
                hits[k] += rank <= k
    found = mean_retrieval(pictures, vectors, own)
    assert 0.1 < found["retrieval_at_1"] < found["retrieval_at_10"] < 1
    for k, count in hits.items():
        assert found[f"retrieval_at_{k}"] == pytest.approx(count / (draws * 140), abs=0.01)


def test_a_tie_counts_against_the_own_caption():
    same = unit(1, 8, seed=1).repeat(120, 1)
    assert mean_retrieval(same, same, torch.arange(120))["retrieval_at_10"] == 0


def test_the_probe_finds_captions_of_unseen_pictures_where_pictures_show_them():
    probe = retrieval.fit_probe(*pairs(600, noise=0.1), seed=0)
    assert retrieval_of(probe, *pairs(200, noise=0.1, seed=1))["retrieval_at_1"] > 0.95


def test_the_probe_is_at_chance_where_pictures_do_not_show_captions():
    features, embeddings = pairs(400, noise=0.1)
    found = []
    for seed in range(16):
        wrong = torch.randperm(400, generator=torch.Generator().manual_seed(seed))
        probe = retrieval.fit_probe(features, embeddings[wrong], seed=0)
        found.append(retrieval_of(probe, *pairs(200, noise=0.1, seed=1))["retrieval_at_10"])
    # In twelve dimensions one wrong pairing can lean either way by accident; their mean cannot.
    assert sum(found) / len(found) == pytest.approx(0.1, abs=0.05)


def test_noisier_pictures_lower_the_retrieval():
    found = []
    for noise in (0.1, 6.0, 24.0):
        probe = retrieval.fit_probe(*pairs(600, noise), seed=0)
        found.append(retrieval_of(probe, *pairs(200, noise, seed=1))["retrieval_at_10"])
    assert found[0] > found[1] + 0.05 > found[2] + 0.1


def test_the_probe_solves_the_normal_equations_of_a_ridge_regression():
    features, embeddings = pairs(200, noise=5.0)
    probe = retrieval.fit_probe(features, embeddings, seed=0)
    inputs = ((features - features.mean(0)) / features.std(0)).double()
    targets = ((embeddings - embeddings.mean(0)) @ probe.whitening).double()
    weights = probe.weights.double()
    residual = inputs.T @ (targets - inputs @ weights) / len(inputs)
    ridge = ((residual * weights).sum() / weights.square().sum()).item()
    torch.testing.assert_close(residual, ridge * weights, rtol=1e-3, atol=1e-4)
    assert min(abs(ridge / allowed - 1) for allowed in retrieval.RIDGES) < 1e-3


def test_whitening_takes_the_covariance_of_captions_to_its_square_root():
    features, embeddings = pairs(2000, noise=1.0)
    stretched = embeddings * torch.logspace(-1, 1, 12)
    probe = retrieval.fit_probe(features, stretched, seed=0)
    covariance = torch.cov(stretched.T, correction=0)
    after = torch.cov(((stretched - probe.text_mean) @ probe.whitening).T, correction=0)
    # The floor under the smallest variances keeps them below the exact square root.
    torch.testing.assert_close((after @ after)[4:, 4:], covariance[4:, 4:], rtol=0.1, atol=0.3)


def test_scale_and_offset_of_features_and_a_constant_feature_do_not_matter():
    features, embeddings = pairs(300, noise=1.0)
    test, _ = pairs(50, noise=1.0, seed=1)

    def changed(f: Tensor) -> Tensor:
        return torch.cat([f * torch.logspace(-2, 2, 30) + 5.0, torch.full((len(f), 1), 3.0)], dim=1)

    plain = retrieval.fit_probe(features, embeddings, seed=0).pictures(test)
    other = retrieval.fit_probe(changed(features), embeddings, seed=0).pictures(changed(test))
    torch.testing.assert_close(other, plain, rtol=1e-2, atol=2e-3)


def test_equal_captions_are_one_choice():
    probe = retrieval.fit_probe(*pairs(200, noise=1.0), seed=0)
    texts = [f"flower {i}" for i in range(110)] + ["flower 7"]
    embeddings = pairs(110, noise=0.0, seed=2)[1]
    embeddings = torch.cat([embeddings, embeddings[7:8]])
    vectors, rows = retrieval.choices(probe, texts, embeddings)
    assert len(vectors) == 110
    assert rows[110] == rows[7]
    torch.testing.assert_close(vectors[rows], probe.texts(embeddings))


def test_too_few_different_captions_are_refused():
    probe = retrieval.fit_probe(*pairs(200, noise=1.0), seed=0)
    with pytest.raises(UserError, match=r"100 different .* has 99.* data\.limit"):
        retrieval.choices(probe, [f"flower {i % 99}" for i in range(150)], pairs(150, noise=0.0)[1])


@pytest.mark.parametrize("count", [2, 3, 10, 101])
def test_no_caption_stays_with_its_picture_when_shuffled(count):
    for seed in range(20):
        found = derangement(count, seed, "shuffled captions")
        assert sorted(found.tolist()) == list(range(count))
        assert not (found == torch.arange(count)).any()
