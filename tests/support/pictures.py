"""Pictures for tests of decoding."""

import io
import struct

import numpy as np
from PIL import Image

from support import tiny_flowers as tiny
from textbloom.data.base import Photo

# What Git LFS leaves in the place of a file.
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 12345\n"


def photo(data: bytes, image_id: int = 1) -> Photo:
    return Photo(image_id, tiny.photo_name(image_id), data)


def encoded(image: Image.Image, format: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def array(image: Image.Image) -> np.ndarray:
    """[3, height, width] of an RGB picture."""
    return np.asarray(image).transpose(2, 0, 1)


def tiff(levels: np.ndarray, white_is_zero: bool = False, bits: int | None = None) -> bytes:
    """Levels [height, width] of any type as a TIFF of one channel, byte for byte as TIFF 6.0 says.

    bits: of a level, where they are packed: `levels` is then what the bytes of each row are.
    """
    height, width = levels.shape
    sample_format = {"u": 1, "i": 2, "f": 3}[levels.dtype.kind]
    data = levels.astype(levels.dtype.newbyteorder("<")).tobytes()
    tags = {
        256: width * 8 // bits if bits else width,
        257: height,
        258: bits or levels.itemsize * 8,
        259: 1,  # not compressed
        262: 0 if white_is_zero else 1,
        273: 8,  # where the levels begin
        277: 1,
        278: height,
        279: len(data),
        339: sample_format,
    }
    directory = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + struct.pack("<H", len(tags)) + directory + bytes(4)
