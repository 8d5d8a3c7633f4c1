"""Pictures for tests of decoding."""

import io

import numpy as np
from PIL import Image

from support import tiny_flowers as tiny
from textbloom.data.base import Photo


def photo(data: bytes, image_id: int = 1) -> Photo:
    return Photo(image_id, tiny.photo_name(image_id), data)


def encoded(image: Image.Image, format: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def array(image: Image.Image) -> np.ndarray:
    """[3, height, width] of an RGB picture."""
    return np.asarray(image).transpose(2, 0, 1)
