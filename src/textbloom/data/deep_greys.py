"""Greys of 12, 16 and 32 bits, signed ones and floats: the 8 bits that a viewer would show of them."""

import numpy as np
from PIL import Image
from PIL.TiffImagePlugin import BITSPERSAMPLE, PHOTOMETRIC_INTERPRETATION, SAMPLEFORMAT, TiffImageFile

from textbloom.data.base import UnfitError

_SIGNED = 2  # of SampleFormat, TIFF 6.0, section 19
_WHITE_IS_ZERO = 0
DARKEST = 1 / 16  # the share of white that a picture reaches if it is not of a smaller scale, such as 10 or 12 bits
_OVERSHOOT = 0.1  # the share by which floats leave their scale where a program has sharpened or enlarged the picture


def is_deep(image: Image.Image) -> bool:
    return image.mode.startswith(("I", "F")) or _tag(image, SAMPLEFORMAT) == _SIGNED


def shown(image: Image.Image) -> Image.Image:
    """The picture as L, what is transparent white.

    White is the end of the least scale that holds all levels: 1, 255 or 65,535 of floats; 255, 65,535 or all bits of
    integers. Raises UnfitError where that cannot be the picture's own.
    """
    levels = np.asarray(image)
    if image.mode == "F":
        scales, overshoot = [1, 255, 65_535], _OVERSHOOT
    else:
        # Pillow holds 32 bits as signed, and 8 bits as unsigned, whatever they are.
        signed = (_tag(image, SAMPLEFORMAT) or (_SIGNED if image.mode == "I" else None)) == _SIGNED
        levels = levels.view(f"{levels.dtype.byteorder}{'i' if signed else 'u'}{levels.itemsize}")
        top = 2 ** ((_tag(image, BITSPERSAMPLE) or 8 * levels.itemsize) - signed) - 1
        scales, overshoot = [*(scale for scale in (255, 65_535) if scale < top), top], 0.0
    transparent = levels == image.info.get("transparency")
    levels = np.nan_to_num(levels.astype(np.float64))
    least, most = levels.min(), levels.max()
    white = next((scale for scale in scales if most <= (1 + overshoot) * scale), 0)
    # A picture that a larger scale would make all but black is of another one.
    if not white or least < -overshoot * most or (white != scales[0] and most < DARKEST * white):
        raise UnfitError(f"has greys from {least:g} to {most:g}, of which none is known as white: save it with 8 bits")
    if _tag(image, PHOTOMETRIC_INTERPRETATION) == _WHITE_IS_ZERO:
        levels = white - levels
    levels[transparent] = white
    return Image.fromarray(np.rint(levels * (255 / white)).clip(0, 255).astype(np.uint8))


def _tag(image: Image.Image, number: int) -> int | None:
    """A TIFF's tag, of the first channel, 1 where it is left out, as the standard says; None of other pictures."""
    value = image.tag_v2.get(number, 1) if isinstance(image, TiffImageFile) else None
    return value[0] if isinstance(value, tuple) else value
