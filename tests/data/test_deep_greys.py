"""Greys of more than 8 bits arrive as bright as they are meant, or are refused by name."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image
from support.pictures import encoded, photo, tiff

from textbloom.core.errors import UserError
from textbloom.data.decoding import decode

RAMP = np.tile(np.linspace(0, 1, 64), (64, 1))


def ramp(kind: str, white: float) -> np.ndarray:
    return (RAMP * white if kind.startswith("f") else np.rint(RAMP * white)).astype(kind)


@pytest.mark.parametrize(
    ("kind", "white"),
    [
        ("u2", 255), ("u2", 65_535), ("u4", 255), ("u4", 65_535), ("u4", 2**32 - 1),
        ("i1", 127), ("i2", 255), ("i2", 32_767), ("i4", 255), ("i4", 65_535), ("i4", 2**31 - 1),
        ("f4", 1), ("f4", 255), ("f4", 65_535),
    ],
)  # fmt: skip
def test_white_is_white_whatever_the_numbers_are(kind, white):
    shown = decode(photo(tiff(ramp(kind, white))), 64)
    assert np.abs(shown - RAMP * 255).max() <= 1.5


@pytest.mark.parametrize("kind", ["u2", "f4"])
def test_where_white_is_zero_a_deep_grey_is_inverted(kind):
    white = 65_535 if kind == "u2" else 1
    shown = decode(photo(tiff(ramp(kind, white), white_is_zero=True)), 64)
    assert np.abs(shown - (1 - RAMP) * 255).max() <= 1.5


def test_twelve_bits_have_their_own_white():
    packed = np.tile(np.array([0xFF, 0xF8, 0x00], np.uint8), (64, 32))  # 4095, 2048
    shown = decode(photo(tiff(packed, bits=12)), 64)
    assert set(np.unique(shown)) == {128, 255}


def test_levels_may_be_stored_high_byte_first():
    levels = ramp("u2", 65_535)
    image = Image.frombytes("I;16B", levels.shape, levels.astype(">u2").tobytes())
    assert np.abs(decode(photo(encoded(image, "TIFF")), 64) - RAMP * 255).max() <= 1.5


def test_floats_may_leave_their_scale_by_a_little_as_sharpening_does():
    shown = decode(photo(tiff((RAMP * 1.1 - 0.05).astype("f4"))), 64)
    assert (shown[0, 0, 0], shown[0, 0, -1]) == (0, 255)
    assert abs(int(shown[0, 0, 32]) - 128) <= 4


@pytest.mark.parametrize(
    "levels",
    [
        ramp("i2", 400) - np.int16(100),
        ramp("u4", 1e6),
        ramp("u2", 1023),
        ramp("u4", 4095),
        ramp("f4", 1e6),
        ramp("f4", 2) - np.float32(1),
        ramp("f4", 5),
        np.where(RAMP < 0.9, RAMP, np.inf).astype("f4"),
    ],
    ids=[
        "negative",
        "between scales",
        "10 bits of 16",
        "12 bits of 32",
        "beyond all scales",
        "around zero",
        "light of no fixed white",
        "infinite",
    ],
)
def test_greys_that_fit_no_scale_are_refused_by_name(levels):
    with pytest.raises(UserError, match=r"image_00001\.jpg has greys from .* to .*: save it with 8 bits$"):
        decode(photo(tiff(levels)), 64)


def halves(mode: str, transparent: int, opaque: int) -> Image.Image:
    levels = np.full((64, 64), opaque, np.uint16)
    levels[:, :32] = transparent
    return Image.fromarray(levels) if mode == "I;16" else Image.fromarray(levels.astype(np.uint8))


def test_the_transparent_level_of_16_bits_becomes_white():
    shown = decode(photo(encoded(halves("I;16", 1000, 8000), transparency=1000)), 64)
    assert (shown[:, :, :28] == 255).all()
    assert (shown[:, :, 36:] == 31).all()


def png(bits: int, colour: int, row: bytes, transparent: bytes) -> bytes:
    """64 equal rows of 64 pixels; colour 0 is grey, 2 is RGB."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", 64, 64, bits, colour, 0, 0, 0)
    pixels = zlib.compress((b"\0" + row) * 64)
    chunks = [(b"IHDR", header), (b"tRNS", transparent), (b"IDAT", pixels), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(name, data) for name, data in chunks)


@pytest.mark.parametrize(
    ("data", "opaque"),
    [
        (png(2, 0, b"\x55" * 8 + b"\xaa" * 8, b"\0\1"), 170),
        (png(4, 0, b"\x55" * 16 + b"\xaa" * 16, b"\0\5"), 170),
        (png(16, 2, b"\x12\x34" * 96 + b"\xaa\xaa" * 96, b"\x12\x34" * 3), 170),
    ],
    ids=["2 bits", "4 bits", "RGB of 16 bits"],
)
def test_the_transparent_level_of_other_depths_becomes_white(data, opaque):
    shown = decode(photo(data), 64)
    assert (shown[:, :, :28] == 255).all()
    assert (shown[:, :, 36:] == opaque).all()


@pytest.mark.parametrize("level", [255, 1023, 4095])
def test_colours_of_16_bits_that_hold_fewer_are_refused_by_name(level):
    with pytest.raises(UserError, match=r"image_00001\.jpg has colours of 16 bits, all of them nearly black: save"):
        decode(photo(png(16, 2, level.to_bytes(2, "big") * 192, b"\xff" * 6)), 64)
