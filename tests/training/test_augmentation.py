"""The augmentation moves and covers, picture by picture, and does the same to whatever it is given."""

import pytest
import torch

from textbloom.training.augmentation import AUGMENTATIONS, CUT, SHIFT, geometric

SIDE = 40


def stream(seed=0):
    return torch.Generator().manual_seed(seed)


def coordinates(count):
    """Pictures whose three channels are the column, the row (both from 1) and 1."""
    axis = torch.arange(1.0, SIDE + 1)
    rows, columns = torch.meshgrid(axis, axis, indexing="ij")
    return torch.stack([columns, rows, torch.ones(SIDE, SIDE)]).expand(count, -1, -1, -1)


def reflected(place):
    """A coordinate from 1 to SIDE for one that may lie outside, where the picture is mirrored at its edge."""
    place = torch.where(place < 1, 1 - place, place)
    return torch.where(place > SIDE, 2 * SIDE + 1 - place, place)


def test_without_an_augmentation_pictures_stay_and_no_number_is_drawn():
    pictures, numbers = torch.randn(5, 3, SIDE, SIDE), stream()
    assert torch.equal(AUGMENTATIONS["none"](pictures, numbers), pictures)
    assert torch.equal(numbers.get_state(), stream().get_state())


@pytest.mark.parametrize("side", [8, 20, 64, 96])
def test_every_pixel_outside_the_cut_is_one_of_the_picture_and_few_are_lost(side):
    pictures = torch.rand(20, 3, side, side) + 1
    for before, after in zip(pictures, geometric(pictures, stream()), strict=True):
        colours = {tuple(pixel) for pixel in before.flatten(1).T.tolist()}
        found = [tuple(pixel) for pixel in after.flatten(1).T.tolist()]
        seen = [pixel for pixel in found if pixel != (0.0, 0.0, 0.0)]
        assert set(seen) <= colours
        assert len(found) - len(seen) <= (round(CUT * side) + 1) ** 2
        most = round(SHIFT * side)
        assert len(set(seen)) >= (side - most) ** 2 - (len(found) - len(seen))


def test_pictures_in_the_channels_of_one_are_moved_alike():
    one, other = torch.rand(2, 6, 3, SIDE, SIDE)
    both = geometric(torch.cat([one, other], dim=1), stream())
    assert torch.equal(both, torch.cat([geometric(one, stream()), geometric(other, stream())], dim=1))


def test_a_picture_is_mirrored_shifted_by_whole_pixels_with_reflection_and_has_one_square_cut_out():
    axis, found = torch.arange(1.0, SIDE + 1), set()
    for columns, rows, kept in geometric(coordinates(200), stream()):
        covered = kept == 0
        height, width = (int(covered.any(dim).sum()) for dim in (1, 0))
        assert covered.sum() == height * width and {height, width} <= {round(CUT * SIDE) - 1, round(CUT * SIDE)}
        of_column = columns.amax(0)  # what is left of each column when a square is cut out
        of_row = rows.amax(1)
        most = round(SHIFT * SIDE)
        moves = [
            (mirrored, shift)
            for mirrored in (False, True)
            for shift in range(-most, most + 1)
            if torch.equal(of_column, reflected((SIDE + 1 - axis if mirrored else axis) + shift))
        ]
        downs = [shift for shift in range(-most, most + 1) if torch.equal(of_row, reflected(axis + shift))]
        assert len(moves) == len(downs) == 1
        found.add((*moves[0], downs[0]))
    assert len(found) > 100  # each picture for itself
    assert 70 < 200 * sum(mirrored for mirrored, *_ in found) / len(found) < 130


def test_the_same_numbers_do_the_same_to_real_and_generated_pictures_and_it_is_linear():
    a, b = torch.randn(2, 5, 3, SIDE, SIDE)
    changed = [geometric(pictures, stream(3)) for pictures in (a, b, 2 * a - b)]
    assert torch.allclose(changed[2], 2 * changed[0] - changed[1], atol=1e-5)
    assert not torch.equal(geometric(a, stream(4)), changed[0])


def test_gradients_reach_the_pixels_that_are_seen():
    pictures = torch.randn(5, 3, SIDE, SIDE, requires_grad=True)
    weights = torch.randn(5, 3, SIDE, SIDE)
    (geometric(pictures, stream()) * weights).sum().backward()
    direction = torch.randn_like(weights)
    forward = (geometric(direction, stream()) * weights).sum()
    assert (pictures.grad * direction).sum().item() == pytest.approx(forward.item(), rel=1e-3)
