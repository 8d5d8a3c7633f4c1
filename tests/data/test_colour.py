"""The colours of a decoded picture are those its profile means, as sRGB."""

import struct

import numpy as np
import pytest
from PIL import Image
from support import icc
from support.pictures import array, encoded, photo

from textbloom.data.decoding import decode

# XYZ of the primaries of Adobe RGB (1998), annex B.2, and Display P3, under D50
ADOBE_RGB = np.array([[0.60974, 0.20528, 0.14919], [0.31111, 0.62567, 0.06322], [0.01947, 0.06087, 0.74457]])
DISPLAY_P3 = np.array([[0.51512, 0.29198, 0.15710], [0.24120, 0.69225, 0.06657], [-0.00105, 0.04189, 0.78407]])


def srgb_levels(light: np.ndarray) -> np.ndarray:
    """IEC 61966-2-1: light 0 to 1 to levels 0 to 255."""
    light = light.clip(0, 1)
    return 255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


def patches() -> np.ndarray:
    """Colours [64, 3] well inside every gamut."""
    return np.random.default_rng(0).integers(90, 180, (64, 3), dtype=np.uint8)


@pytest.mark.parametrize("columns", [ADOBE_RGB, DISPLAY_P3], ids=["Adobe RGB", "Display P3"])
@pytest.mark.parametrize("format", ["PNG", "TIFF", "WEBP"])
def test_a_wide_gamut_picture_shows_its_srgb_colours(columns, format):
    stored = np.broadcast_to(patches()[:, None], (64, 64, 3))
    lossless = {"lossless": True} if format == "WEBP" else {}
    data = encoded(Image.fromarray(stored.copy()), format, icc_profile=icc.matrix(columns, 2.2), **lossless)
    light = (stored / 255) ** 2.2 @ columns.T @ np.linalg.inv(icc.srgb_columns()).T
    expected = srgb_levels(light).transpose(2, 0, 1)
    assert np.abs(expected - stored.transpose(2, 0, 1)).max() > 10
    assert np.abs(decode(photo(data), 64) - expected).max() <= 2


@pytest.mark.parametrize("fit", ["stretch", "crop", "pad"])
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
def test_a_profile_that_swaps_red_and_green_swaps_them(mode, fit):
    swapped = icc.matrix(icc.srgb_columns()[:, [1, 0, 2]], 2.2)
    image = Image.new("RGB", (200, 100), (255, 0, 0)).convert(mode)
    decoded = decode(photo(encoded(image, icc_profile=swapped)), 64, fit)
    assert decoded[:, 32, 32].tolist() == [0, 255, 0]


@pytest.mark.parametrize("mode", ["L", "LA", "1", "I;16"])
def test_a_grey_profile_is_followed(mode):
    image = Image.new("L", (64, 64), 128)
    if mode == "I;16":
        image = Image.fromarray(np.full((64, 64), 128 * 257, dtype=np.uint16))
    decoded = decode(photo(encoded(image.convert(mode), icc_profile=icc.grey(1.0))), 64)
    expected = srgb_levels(np.array(128 / 255)) if mode != "1" else None
    if expected is None:
        assert set(np.unique(decoded)) <= {0, 255}
    else:
        assert np.abs(decoded - expected).max() <= 1


def test_a_cmyk_profile_says_what_the_inks_look_like():
    image = Image.new("CMYK", (64, 64), (0, 255, 255, 255))
    image.paste((255, 0, 0, 0), (0, 0, 32, 64))
    data = encoded(image, "JPEG", quality=95, icc_profile=icc.cyan_alone_is_dark())
    decoded = decode(photo(data), 64)
    assert decoded[:, :, :24].max() <= 10
    assert decoded[:, :, 40:].min() >= 245


@pytest.mark.parametrize(
    ("ink", "colour"), [((255, 0, 0, 0), (0, 255, 255)), ((0, 255, 255, 0), (255, 0, 0)), ((0, 0, 0, 0), (255,) * 3)]
)
def test_cmyk_as_photo_programs_write_it_is_not_inverted(ink, colour):
    data = encoded(Image.new("CMYK", (64, 64), ink), "JPEG", quality=95)
    assert b"Adobe" in data[:400]  # the marker that says: levels are inverted
    assert np.abs(decode(photo(data), 64)[:, 32, 32].astype(int) - colour).max() <= 3


def damaged_profiles() -> list[bytes]:
    whole, chance = icc.matrix(ADOBE_RGB, 2.2), np.random.default_rng(0)
    damaged = [b"", b"not a profile", whole[:60], whole[:200], b"\0" * 500, icc.grey(1.0), icc.cyan_alone_is_dark()]
    return damaged + [whole[:16] + chance.bytes(len(whole) - 16) for _ in range(20)]


def test_a_damaged_profile_or_one_of_another_kind_spoils_no_picture():
    image = Image.new("RGB", (64, 64), (200, 100, 50))
    for profile in damaged_profiles():
        decoded = decode(photo(encoded(image, "TIFF", icc_profile=profile)), 64)
        np.testing.assert_array_equal(decoded, array(image))


def test_flipped_bytes_of_a_profile_never_stop_a_picture():
    whole, chance = icc.matrix(ADOBE_RGB, 2.2), np.random.default_rng(1)
    image = Image.new("RGB", (64, 64), (200, 100, 50))
    for _ in range(300):
        damaged = bytearray(whole)
        for _ in range(4):
            damaged[chance.integers(len(damaged))] = chance.integers(256)
        assert decode(photo(encoded(image, "JPEG", icc_profile=bytes(damaged))), 64).shape == (3, 64, 64)


def test_a_profile_that_is_srgb_but_for_rounding_changes_next_to_nothing():
    red = icc.srgb_columns()[0, 0]
    nearly = icc.srgb().replace(struct.pack(">i", round(red * 2**16)), struct.pack(">i", round((red + 0.001) * 2**16)))
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    decoded = decode(photo(encoded(image, icc_profile=nearly)), 64).astype(int)
    assert np.abs(decoded - array(image)).max() <= 4


@pytest.mark.parametrize(
    ("levels", "format", "mode"),
    [
        (np.linspace(0, 65535, 4096).astype(np.uint16), "PNG", "I;16"),
        (np.linspace(0, 65535, 4096).astype(np.int32), "TIFF", "I"),
        (np.linspace(0, 255, 4096).astype(np.float32), "TIFF", "F"),
    ],
)
def test_deep_greys_keep_their_whole_range(levels, format, mode):
    image = Image.fromarray(levels.reshape(64, 64))
    assert image.mode == mode
    decoded = decode(photo(encoded(image, format)), 64)
    expected = np.linspace(0, 255, 4096).reshape(64, 64)
    assert np.abs(decoded - expected).max() <= 1


def test_a_transparent_palette_shows_white():
    image = Image.new("P", (64, 64), 0)
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.paste(1, (32, 0, 64, 64))
    decoded = decode(photo(encoded(image, transparency=0)), 64)
    assert decoded[:, 32, 10].tolist() == [255, 255, 255]
    assert decoded[:, 32, 50].tolist() == [0, 0, 255]


@pytest.mark.parametrize("white", [1, 255])
def test_a_grey_of_floats_is_as_bright_as_its_range_says(white):
    ramp = np.linspace(0, 1, 32, dtype=np.float32)
    shown = decode(photo(encoded(Image.fromarray(np.tile(ramp * white, (32, 1))), "TIFF")), 32)
    assert np.abs(shown.mean(0)[0].astype(float) - ramp * 255).max() <= 1
