"""The colour measure: right on the drawn originals, robust to what a generator does to pictures, blind to nothing."""

import numpy as np
import pytest

from textbloom.data.base import Options
from textbloom.metrics.colour_accuracy import Palette, cielab
from textbloom.sources import drawn
from textbloom.sources.drawn import attributes
from textbloom.sources.drawn.attributes import CENTRE_COLOURS, PETAL_COLOURS


def petals(flowers: list[attributes.Flower]) -> list[str]:
    return [one.petal_colour for one in flowers]


def centres(flowers: list[attributes.Flower]) -> list[str]:
    return [one.centre_colour for one in flowers]


def spoiled(images: np.ndarray, sigma: float, noise: float) -> np.ndarray:
    """Gaussian blur of `sigma` pixels, then Gaussian noise of `noise` grey levels."""
    offsets = np.arange(-6, 7)
    kernel = np.exp(-np.square(offsets) / (2 * sigma * sigma))
    kernel /= kernel.sum()
    values = np.pad(images.astype(np.float64), ((0, 0), (0, 0), (6, 6), (6, 6)), mode="reflect")
    size = images.shape[-1]
    values = sum(weight * values[..., k : k + size, :] for k, weight in enumerate(kernel))
    values = sum(weight * values[..., k : k + size] for k, weight in enumerate(kernel))
    values = values + np.random.default_rng(3).normal(0.0, noise, values.shape)
    return np.clip(np.round(values), 0, 255).astype(np.uint8)


def test_lab_of_known_colours() -> None:
    # CIELAB under D65 of the sRGB primaries and white, as published in every colour table.
    srgb = np.array([[255, 255, 255], [255, 0, 0], [0, 255, 0], [0, 0, 255], [0, 0, 0]])
    lab = np.array([[100, 0, 0], [53.24, 80.09, 67.20], [87.73, -86.18, 83.18], [32.30, 79.19, -107.86], [0, 0, 0]])
    assert np.allclose(cielab(srgb), lab, atol=0.02)


@pytest.fixture(scope="module")
def palette(tmp_path_factory: pytest.TempPathFactory) -> Palette:
    """As the drawing writes it."""
    folder = tmp_path_factory.mktemp("drawn")
    drawn.obtain(folder, Options(folder, count=1, seed=1))
    return Palette.read(folder / "palette.json")


def share(measured: list[str], named: list[str]) -> float:
    return float(np.mean([a == b for a, b in zip(measured, named, strict=True)]))


def test_originals_have_the_colours_they_are_named_for(
    originals: np.ndarray, small: np.ndarray, flowers: list[attributes.Flower], palette: Palette
) -> None:
    for images in (small, originals[:40]):
        assert share(palette.measured(images, "petal"), petals(flowers)[: len(images)]) >= 0.98
        assert share(palette.measured(images, "centre"), centres(flowers)[: len(images)]) >= 0.98


def test_blur_and_noise_hardly_matter(small: np.ndarray, flowers: list[attributes.Flower], palette: Palette) -> None:
    images = spoiled(small, sigma=1.5, noise=15.0)
    assert share(palette.measured(images, "petal"), petals(flowers)) >= 0.95
    assert share(palette.measured(images, "centre"), centres(flowers)) >= 0.95


def test_grey_noise_and_backgrounds_do_not_pass(flowers: list[attributes.Flower], palette: Palette) -> None:
    shape = (len(flowers), 3, 64, 64)
    noise = np.random.default_rng(5).integers(0, 256, shape, dtype=np.uint8)
    leaf = np.broadcast_to(np.array([66, 122, 54], np.uint8).reshape(1, 3, 1, 1), shape)
    for images in (noise, leaf):
        assert share(palette.measured(images, "petal"), petals(flowers)) <= 0.25


@pytest.mark.parametrize("petal", list(PETAL_COLOURS))
def test_a_plain_disc_has_its_own_colour_whatever_lies_outside_it(petal: str, palette: Palette) -> None:
    for centre, ramp in CENTRE_COLOURS.items():
        picture = disc(PETAL_COLOURS[petal][1], ramp[1])
        assert palette.measured(picture, "petal") == [petal]
        assert palette.measured(picture, "centre") == [centre]


def test_recolouring_the_petals_changes_the_measured_colour(
    small: np.ndarray, flowers: list[attributes.Flower], palette: Palette
) -> None:
    red = [place for place, one in enumerate(flowers) if one.petal_colour == "red"]
    blue = small[red][:, [2, 1, 0]]  # red and blue channels swapped
    assert set(palette.measured(blue, "petal")) <= {"blue", "purple"}


def disc(petal: tuple[int, int, int], centre: tuple[int, int, int]) -> np.ndarray:
    """uint8 [1, 3, 64, 64]: a disc in a disc on leaf green."""
    axis = (np.arange(64) + 0.5) / 32 - 1
    away = np.sqrt(axis[:, None] ** 2 + axis[None, :] ** 2)
    picture = np.full((3, 64, 64), 0, np.uint8)
    picture[:] = np.array([66, 122, 54], np.uint8).reshape(3, 1, 1)
    for colour, radius in ((petal, 0.8), (centre, 0.2)):
        picture[:, away < radius] = np.array(colour, np.uint8).reshape(3, 1)
    return picture[None]
