"""What of captions' embeddings the networks look at."""

import pytest
import torch

from textbloom.models.text_directions import EVENNESS, TextDirections


def test_text_directions_are_centred_and_evened_out_and_of_variance_one_on_average():
    stream = torch.Generator().manual_seed(0)
    spread = torch.logspace(0, -1, 12)
    embeddings = 3 + torch.randn(4000, 12, generator=stream) * spread @ torch.linalg.qr(torch.randn(12, 12))[0]
    directions = TextDirections(12, None)
    directions.fit(embeddings)
    out = directions(embeddings).double()
    covariance = out.T.cov()
    variances = covariance.diagonal()
    assert out.mean(0).abs().max() < 1e-3
    assert (covariance - variances.diag()).abs().max() < 1e-4
    assert variances.mean() == pytest.approx(1.0, rel=1e-3)
    original = torch.linalg.eigvalsh(embeddings.double().T.cov()).flip(0)
    ratios = variances / original ** (1 - 2 * EVENNESS)
    assert torch.allclose(ratios, ratios[0].expand(12), rtol=1e-2)


def test_only_the_directions_of_most_variance_are_kept_where_that_is_asked_for():
    embeddings = torch.randn(500, 12) * torch.linspace(1, 2, 12)
    some, every = TextDirections(12, 5), TextDirections(12, None)
    some.fit(embeddings)
    every.fit(embeddings)
    angles = torch.nn.functional.cosine_similarity(some.directions, every.directions[:, :5], dim=0)
    torch.testing.assert_close(angles, torch.ones(5))
    assert some(embeddings).shape == (500, 5) and every(embeddings).shape == (500, 12)


def test_a_direction_that_never_varied_is_not_raised_without_bound():
    embeddings = torch.randn(500, 12) * (torch.arange(12) > 0)
    directions = TextDirections(12, None)
    directions.fit(embeddings)
    unseen = torch.eye(12)[0] + directions.mean
    assert directions(unseen).norm() < 50


def test_text_directions_do_not_depend_on_the_order_of_captions():
    embeddings, a, b = torch.randn(500, 12), TextDirections(12, None), TextDirections(12, None)
    a.fit(embeddings)
    b.fit(embeddings.flip(0))
    assert torch.allclose(a(embeddings), b(embeddings), atol=1e-4)
