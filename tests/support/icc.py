"""ICC profiles made by hand, for tests: the format's bytes as ICC.1:2022 lays them out."""

import struct
from collections.abc import Mapping

import numpy as np
from PIL import ImageCms

D50 = (0.9642, 1.0, 0.8249)


def profile(space: bytes, connection: bytes, device: bytes, tags: Mapping[bytes, bytes]) -> bytes:
    """Header, tag table, tags."""
    offset, table, body = 128 + 4 + 12 * len(tags), b"", b""
    for name, content in tags.items():
        content += bytes(-len(content) % 4)
        table += struct.pack(">4sII", name, offset + len(body), len(content))
        body += content
    header = struct.pack(">I4sI4s4s4s", offset + len(body), b"", 0x02400000, device, space, connection)
    header += bytes(12) + b"acsp" + bytes(28) + _fixed(*D50)
    return header.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


def matrix(columns: np.ndarray, gamma: float) -> bytes:
    """An RGB profile: `columns` [3, 3] are the XYZ of red, green and blue under D50; levels are powers of light."""
    tags = {name: b"XYZ \0\0\0\0" + _fixed(*column) for name, column in zip(RGB, columns.T, strict=True)}
    tags |= {name: _curve(gamma) for name in (b"rTRC", b"gTRC", b"bTRC")}
    return profile(b"RGB ", b"XYZ ", b"mntr", tags | {b"wtpt": b"XYZ \0\0\0\0" + _fixed(*D50)})


def grey(gamma: float) -> bytes:
    tags = {b"kTRC": _curve(gamma), b"wtpt": b"XYZ \0\0\0\0" + _fixed(*D50)}
    return profile(b"GRAY", b"XYZ ", b"mntr", tags)


def cyan_alone_is_dark() -> bytes:
    """A CMYK profile of strange inks: cyan prints black, the others nothing."""
    ramp = bytes(range(256))
    corners = b"".join(bytes([0 if index & 8 else 255, 128, 128]) for index in range(16))
    lut = b"mft1\0\0\0\0" + bytes([4, 3, 2, 0]) + _fixed(1, 0, 0, 0, 1, 0, 0, 0, 1)
    lut += ramp * 4 + corners + ramp * 3
    return profile(b"CMYK", b"Lab ", b"prtr", {b"A2B0": lut, b"wtpt": b"XYZ \0\0\0\0" + _fixed(*D50)})


def srgb() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def srgb_columns() -> np.ndarray:
    """The XYZ of sRGB's red, green and blue under D50, [3, 3], read from its profile."""
    data = srgb()
    places = {data[at : at + 4]: struct.unpack_from(">I", data, at + 4)[0] for at in range(132, 132 + 12 * 9, 12)}
    return np.array([struct.unpack_from(">3i", data, places[name] + 8) for name in RGB]).T / 2**16


RGB = (b"rXYZ", b"gXYZ", b"bXYZ")


def _fixed(*values: float) -> bytes:
    return struct.pack(f">{len(values)}i", *(round(value * 2**16) for value in values))


def _curve(gamma: float) -> bytes:
    return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 2**8))
