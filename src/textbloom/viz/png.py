"""Metadata in a PNG's text chunks: the caption, and all that it takes to draw the same picture again."""

import io
import json
from collections.abc import Mapping
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import Tensor


def chunks(description: str, settings: Mapping[str, Any]) -> PngInfo:
    """Text chunks under PNG's own keywords (PNG, section 11.3.3): Software, Description and, as JSON, Comment."""
    info = PngInfo()
    info.add_itxt("Software", "textbloom")
    info.add_itxt("Description", description)
    info.add_itxt("Comment", json.dumps(settings, sort_keys=True, ensure_ascii=False))
    return info


def encoded(picture: Tensor, description: str, settings: Mapping[str, Any]) -> bytes:
    """The bytes of a PNG of one picture, uint8 [3, S, S]."""
    file = io.BytesIO()
    Image.fromarray(picture.permute(1, 2, 0).numpy()).save(
        file, "PNG", compress_level=1, pnginfo=chunks(description, settings)
    )
    return file.getvalue()
