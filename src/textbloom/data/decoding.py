"""One encoded photo to one square of sRGB pixels: upright, its colour profile followed, cropped and resized.

Called from several threads at once: Pillow lets go of Python's lock while it decodes, resizes and converts colours.
"""

import io
import math
import struct
from functools import lru_cache
from typing import Literal

import numpy as np
from PIL import ExifTags, Image, ImageCms

from textbloom.core.errors import UserError
from textbloom.data.archives import MEND
from textbloom.data.base import Photo

Fit = Literal["stretch", "crop", "pad"]
Region = tuple[float, float, float, float]  # left, top, right, bottom, in pixels of the stored picture

MOST_PIXELS = 2**28 // 3  # a larger picture, 256 MiB of RGB, is a decompression bomb rather than a photo
# A photo may first shrink cheaply (JPEG's own down-scaling, box averages) to this many times the final side.
# Against plain Lanczos, photos of short side 500 px differ by 0.23 grey levels in the mean at 64 px, by 0.07 at 128 px.
GAP = 3.0

_UPRIGHT: dict[object, Image.Transpose] = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def decode(photo: Photo, size: int, fit: Fit = "stretch", box_share: float | None = None) -> np.ndarray:
    """One photo as uint8 [3, size, size], sRGB, upright.

    `fit` brings its shape to a square: `stretch` squeezes it, as published; `crop` keeps the middle of the longer side;
    `pad` keeps the whole picture on white, which is what a page shows round it and what transparent pixels become.
    With `box_share`, in (0, 1], a photo with a box is first cut to a square round the box's centre in which the box's
    longer side takes that share. The picture's edges clip the square, so that the share only grows.

    Raises UserError, naming the photo, for bytes that are no whole picture, for one too large to be a photo, and for a
    box outside the picture.
    """
    try:
        with Image.open(io.BytesIO(photo.data)) as image:
            if image.width * image.height > MOST_PIXELS:
                raise Image.DecompressionBombError(f"{image.width} × {image.height} pixels, a decompression bomb")
            square = _square(image, photo, size, fit, box_share)
            turn = _UPRIGHT.get(_orientation(image))
    except Image.DecompressionBombError as error:
        raise UserError(f"photo {photo.member}: {error}: take it out of the archive") from None
    except (OSError, SyntaxError, ValueError, struct.error) as error:  # what Pillow's readers raise on damaged bytes
        raise UserError(f"photo {photo.member} cannot be decoded ({error}): replace your picture, or {MEND}") from None
    return np.asarray(square if turn is None else square.transpose(turn)).transpose(2, 0, 1)


# The shape


def _square(image: Image.Image, photo: Photo, size: int, fit: Fit, box_share: float | None) -> Image.Image:
    whole: Region = (0, 0, image.width, image.height)
    region = whole
    if box_share is not None and photo.box is not None:
        region = _round_box(photo, whole, box_share)
    if fit == "crop":
        region = _middle(region)
    target = _inside(region, size) if fit == "pad" else (size, size)
    scale = _draft(image, region, target)
    # A drafted picture is rounded up to whole pixels: taken whole, no box may cut off the last ones.
    left, top, right, bottom = (edge * scale for edge in region)
    box = None if region == whole else (left, top, right, bottom)
    opaque, profile = _opaque(image)
    small = opaque.resize(target, Image.Resampling.LANCZOS, box=box, reducing_gap=GAP)
    if profile is not None:  # applied last: by now the picture is small, so the conversion costs little
        small = _to_srgb(small, profile)
    if small.size == (size, size):
        return small
    padded = Image.new("RGB", (size, size), "white")
    padded.paste(small, ((size - small.width) // 2, (size - small.height) // 2))
    return padded


def _round_box(photo: Photo, whole: Region, share: float) -> Region:
    """The square round the box's centre, clipped.

    Zhang et al., "StackGAN", 2017, section 4, ask for a share above 0.75; their published code takes 2/3.
    """
    assert photo.box is not None and 0 < share <= 1
    left, top, width, height = photo.box
    half = max(width, height) / share / 2
    across, down = left + width / 2, top + height / 2
    region = (
        max(across - half, whole[0]),
        max(down - half, whole[1]),
        min(across + half, whole[2]),
        min(down + half, whole[3]),
    )
    if min(width, height) <= 0 or region[0] >= region[2] or region[1] >= region[3]:
        raise UserError(
            f"photo {photo.member}: its box {tuple(photo.box)} is not within its {whole[2]} × {whole[3]} pixels: "
            "correct the box, or set images.box_share to null"
        )
    return region


def _middle(region: Region) -> Region:
    """The square of the shorter side in the middle, by whole pixels, so that nothing is blurred that keeps its size."""
    left, top, right, bottom = region
    side = min(right - left, bottom - top)
    left += (right - left - side) // 2
    top += (bottom - top - side) // 2
    return left, top, left + side, top + side


def _inside(region: Region, size: int) -> tuple[int, int]:
    """Width and height of the region's shape when its longer side becomes `size`."""
    width, height = region[2] - region[0], region[3] - region[1]
    scale = size / max(width, height)
    return max(1, round(width * scale)), max(1, round(height * scale))


def _draft(image: Image.Image, region: Region, target: tuple[int, int]) -> float:
    """Let a JPEG decode smaller as long as the region keeps GAP times the target; returns the scale that it took."""
    wanted = (
        math.ceil(GAP * target[0] * image.width / (region[2] - region[0])),
        math.ceil(GAP * target[1] * image.height / (region[3] - region[1])),
    )
    width = image.width
    drafted = image.draft(None, wanted)
    return 1.0 if drafted is None else drafted[1][2] / width


def _orientation(image: Image.Image) -> object:
    """The EXIF tag that says how the camera was held; None where EXIF is absent or unreadable."""
    try:
        return image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # Pillow raises nearly anything on damaged EXIF, and the picture itself is sound
        return None


# The colours

_SRGB = ImageCms.createProfile("sRGB")
# The many profiles that are sRGB differ by rounding, at most by this many of 255 levels; they are left alone.
_SAME = 4
_GREYS = ("1", "L", "LA", "La", "I", "I;16", "I;16L", "I;16B", "I;16N", "F")


def _opaque(image: Image.Image) -> tuple[Image.Image, ImageCms.ImageCmsTransform | None]:
    """The picture ready to be resized, and what then makes its colours sRGB (None: they are).

    Without a transform the mode is RGB; with one it is the profile's: RGB, L or CMYK. What is transparent becomes
    white, as on a page. A profile that is damaged, or not of the picture's kind, counts as none.
    """
    profile = image.info.get("icc_profile")
    mode = _profile_mode(profile, image.mode) if isinstance(profile, bytes) else None
    transform = _transform(profile, mode) if mode else None
    opaque, wanted = _on_white(_eight_bits(image)), mode if transform and mode else "RGB"
    # `convert` copies even where there is nothing to convert.
    return opaque if opaque.mode == wanted else opaque.convert(wanted), transform


def _to_srgb(image: Image.Image, transform: ImageCms.ImageCmsTransform) -> Image.Image:
    converted = ImageCms.applyTransform(image, transform)
    assert converted is not None  # it is None only when asked to work in place
    return converted


def _eight_bits(image: Image.Image) -> Image.Image:
    """Deep greys as L, where Pillow would clip: integers are 16 bits, floats 0 to 1 or, beyond that, 0 to 255."""
    if image.mode.startswith("I"):
        levels = np.asarray(image).astype(np.float64) / 257
    elif image.mode == "F":
        levels = np.nan_to_num(np.asarray(image, dtype=np.float64))
        levels = levels * 255 if levels.max() <= 1 else levels
    else:
        return image
    return Image.fromarray(np.rint(levels).clip(0, 255).astype(np.uint8))


def _on_white(image: Image.Image) -> Image.Image:
    if not image.has_transparency_data:
        return image
    layered = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layered.size, "white"), layered).convert("RGB")


def _profile_mode(profile: bytes, mode: str) -> str | None:
    """The mode in which a picture of `mode` can be read through the profile; None: in none."""
    space = profile[16:20]  # ICC.1:2022, table 17: the data colour space
    if space == b"CMYK":
        return "CMYK" if mode == "CMYK" else None
    if space == b"GRAY":
        return "L" if mode in _GREYS else None
    return "RGB" if space == b"RGB " and mode != "CMYK" else None


@lru_cache(maxsize=8)  # a data set has few profiles, and building a transform costs more than decoding a photo
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """From the profile to sRGB; None for a damaged profile and for one that is sRGB."""
    try:
        transform = ImageCms.buildTransform(ImageCms.ImageCmsProfile(io.BytesIO(profile)), _SRGB, mode, "RGB")
    except (ImageCms.PyCMSError, OSError, TypeError, ValueError):
        return None
    probe = _all_colours(mode)
    shown = np.asarray(_to_srgb(probe, transform)).astype(int)
    return None if np.abs(shown - np.asarray(probe.convert("RGB"))).max() <= _SAME else transform


def _all_colours(mode: str) -> Image.Image:
    """A picture with colours from all over the mode's cube."""
    bands = len(Image.new(mode, (1, 1)).getbands())
    levels = np.linspace(0, 255, 9).astype(np.uint8)
    colours = np.stack(np.meshgrid(*[levels] * bands), axis=-1).reshape(1, -1, bands)
    return Image.fromarray(colours[..., 0] if bands == 1 else colours, mode=mode)
