"""What of captions' embeddings the networks look at."""

import pytest
import torch

from textbloom.models.text_directions import EVENNESS, OF_MIDDLE, PLACES, SHADES, TextDirections, colours_by_place


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


def told(directions: TextDirections, embeddings: torch.Tensor, what: torch.Tensor) -> float:
    """Share of the variance of numbers [N] that a line through the directions tells."""
    fitted = torch.cat([directions(embeddings), torch.ones(len(what), 1)], dim=1)
    line = torch.linalg.lstsq(fitted, what[:, None]).solution[:, 0]
    return 1 - float((what - fitted @ line).var() / what.var())


@pytest.fixture
def captions_and_pictures() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Embeddings of 400 captions that say whether their picture is red around and green in its middle, pictures, both.

    Most of what varies in the embeddings is of no colour.
    """
    stream = torch.Generator().manual_seed(0)
    red, green = (torch.rand(2, 400, generator=stream) > 0.5).float()
    pictures = torch.zeros(400, 3, 32, 32)
    pictures[:, 0] = 255 * red[:, None, None]
    pictures[:, :, 12:20, 12:20] = 0
    pictures[:, 1, 12:20, 12:20] = 255 * green[:, None, None]
    numbers = 2 * torch.randn(400, 12, generator=stream)
    numbers[:, 3], numbers[:, 7] = red, green
    return numbers @ torch.linalg.qr(torch.randn(12, 12, generator=stream))[0].T, pictures.byte(), red, green


def test_directions_by_colour_tell_the_colours_and_leave_out_what_varies_most(captions_and_pictures):
    embeddings, pictures, red, green = captions_and_pictures
    by_colour, by_variance = TextDirections(12, 3), TextDirections(12, 3)
    by_colour.fit_colours(embeddings, pictures)
    by_variance.fit(embeddings)
    for what in (red, green):
        assert told(by_colour, embeddings, what) > 0.8 and told(by_variance, embeddings, what) < 0.2
    out = by_colour(embeddings)
    torch.testing.assert_close(out.std(0), torch.ones(3))
    torch.testing.assert_close(out.mean(0), torch.zeros(3), atol=1e-5, rtol=0)


def test_a_caption_gets_what_another_says_of_the_middle_and_keeps_the_rest(captions_and_pictures):
    embeddings, pictures, _, _ = captions_and_pictures
    directions = TextDirections(12, 3)
    directions.fit_colours(embeddings, pictures)
    others = embeddings.roll(1, 0)
    composed, own, other = map(directions, (directions.with_middle(embeddings, others), embeddings, others))
    of_middle = round(OF_MIDDLE * 3)
    torch.testing.assert_close(composed[:, :of_middle], other[:, :of_middle], atol=1e-4, rtol=0)
    torch.testing.assert_close(composed[:, of_middle:], own[:, of_middle:], atol=1e-4, rtol=0)


def test_the_colours_of_a_square_are_shares_of_its_pixels():
    pictures = torch.zeros(1, 3, 2 * PLACES, 2 * PLACES, dtype=torch.uint8)
    pictures[0, :, 0, :2] = torch.tensor([255, 0, 128], dtype=torch.uint8)[:, None]
    shares = colours_by_place(pictures)[0]
    torch.testing.assert_close(shares.sum(0), torch.ones(PLACES, PLACES))
    assert shares[(2 * SHADES + 0) * SHADES + 1, 0, 0] == 0.5 and shares[0, 0, 0] == 0.5
    assert (shares[0].flatten()[1:] == 1).all()
