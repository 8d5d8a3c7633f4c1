"""One encoded photo to one square of sRGB pixels: upright, its colour profile followed, cropped and resized.

Called from several threads at once: Pillow lets go of Python's lock while it decodes, resizes and converts colours.
"""

import io
import struct
from functools import lru_cache
from math import ceil
from typing import Literal

import numpy as np
from PIL import ExifTags, Image, ImageCms, ImageOps, ImageSequence, ImageStat, PngImagePlugin, UnidentifiedImageError

from textbloom.core.errors import UserError
from textbloom.data import deep_greys
from textbloom.data.archives import MEMBER_BYTES, MEND
from textbloom.data.base import Photo, UnfitError

Fit = Literal["stretch", "crop", "pad"]
Region = tuple[float, float, float, float]  # left, top, right, bottom, in pixels of the stored picture

# A photo may first shrink cheaply (JPEG's own down-scaling, box averages) to this many times the final side.
# Against plain Lanczos, photos of short side 500 px differ by 0.23 grey levels in the mean at 64 px, by 0.07 at 128 px.
GAP = 3.0

PIXELS = 89_478_485  # that are held of one picture: Pillow's own bound, a quarter of a GiB of three channels
Image.MAX_IMAGE_PIXELS = None  # Pillow would refuse a JPEG that is never held in its full size

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "AVIF")
_ANIMATIONS = ("PNG", "WEBP", "GIF", "AVIF")  # the further frames of other files are pages and previews
# Levels of a PNG's own bits, by how Pillow unpacks them.
_TO_8_BITS = {"L;2": lambda level: level * 85, "L;4": lambda level: level * 17, "RGB;16B": lambda level: level >> 8}
_SRGB = ImageCms.createProfile("sRGB")

# What programs write into a PNG about it, unpacked: Pillow would refuse the picture for more than 1 MiB.
PngImagePlugin.MAX_TEXT_CHUNK = MEMBER_BYTES


def opened(data: bytes) -> Image.Image:
    """A picture of one of FORMATS, not yet decoded.

    Raises UnfitError for one of too many pixels, ValueError for other bytes, and Pillow's own errors.
    """
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError:  # it names the buffer, by its address
        raise ValueError(
            f"its bytes are of none of the kinds {', '.join(FORMATS)}, or of a form of them that is not read"
        ) from None
    # A JPEG decodes smaller, line by line, unless it is a progressive one.
    if image.format not in ("JPEG", "MPO") or image.info.get("progressive"):
        _refuse_huge(image)
    return image


def _refuse_huge(image: Image.Image) -> None:
    pixels = image.width * image.height
    if pixels > PIXELS:
        raise UnfitError(f"has {pixels / 1e6:.0f} megapixels, at most {PIXELS / 1e6:.0f}: scale it down")


def decode(photo: Photo, size: int, fit: Fit = "stretch", box_share: float | None = None) -> np.ndarray:
    """One photo as uint8 [3, size, size], sRGB, upright.

    `fit` brings its shape to a square: `stretch` squeezes it, as published; `crop` keeps the middle of the longer side;
    `pad` keeps the whole picture on white, which is what a page shows round it and what transparent pixels become.
    With `box_share`, in (0, 1], a photo with a box is first cut to a square round the box's centre in which the box's
    longer side takes that share. The picture's edges clip the square, so that the share only grows. Of an animation the
    first frame counts that shows something.

    Raises UserError, naming the photo, for bytes that are no whole picture, for one too large to be a photo, for greys
    of which none is known as white, and for a box outside the picture.
    """
    try:
        with opened(photo.data) as image:
            _pass_over_blank_frames(image)
            region = (0.0, 0.0, float(image.width), float(image.height))
            if box_share is not None and photo.box is not None:
                region = _round_box(photo, image, box_share)
            square = _upright(_square(image, region, size, fit), image)
    except UnfitError as error:
        raise UserError(f"photo {photo.member} {error}") from None
    except (LookupError, OSError, RuntimeError, SyntaxError, ValueError, struct.error) as error:
        raise UserError(f"photo {photo.member} cannot be decoded ({error}): replace your picture, or {MEND}") from None
    return np.asarray(square).transpose(2, 0, 1)


def _pass_over_blank_frames(image: Image.Image) -> None:
    """Turn an animation to its first frame that has half the contrast of its best one: many fade in from nothing."""
    if image.format in _ANIMATIONS and getattr(image, "is_animated", False):
        frames = (_opaque(frame).convert("L") for frame in ImageSequence.Iterator(image))
        contrasts = [ImageStat.Stat(frame).stddev[0] for frame in frames]
        image.seek(next(number for number, each in enumerate(contrasts) if each >= max(contrasts) / 2))


def _round_box(photo: Photo, image: Image.Image, share: float) -> Region:
    """The square round the box's centre, clipped.

    Zhang et al., "StackGAN", 2017, section 4, ask for a share above 0.75; their published code takes 2/3.
    """
    assert photo.box is not None and 0 < share <= 1
    left, top, width, height = photo.box
    half = max(width, height) / share / 2
    across, down = left + width / 2, top + height / 2
    left, top = max(across - half, 0.0), max(down - half, 0.0)
    right, bottom = min(across + half, float(image.width)), min(down + half, float(image.height))
    if left >= right or top >= bottom:
        raise UserError(
            f"photo {photo.member}: its box {tuple(photo.box)} is not within its {image.width} × {image.height} "
            "pixels: correct the box, or set images.box_share to null"
        )
    return left, top, right, bottom


def _square(image: Image.Image, region: Region, size: int, fit: Fit) -> Image.Image:
    """The region of a picture that is not yet decoded, brought to a square by `fit`, in sRGB."""
    if fit == "crop":
        region = _middle(region)
    left, top, right, bottom = region
    target = (size, size)
    if fit == "pad":  # the longer side becomes `size`
        scale = size / max(right - left, bottom - top)
        target = max(1, round((right - left) * scale)), max(1, round((bottom - top) * scale))
    # A JPEG decodes smaller, as long as the region keeps GAP times the target.
    width, height = image.size
    wanted = ceil(GAP * target[0] * width / (right - left)), ceil(GAP * target[1] * height / (bottom - top))
    drafted = image.draft(None, wanted)
    _refuse_huge(image)
    # A drafted picture is rounded up to whole pixels: taken whole, no box may cut off the last ones.
    shrunk = drafted[1][2] / width if drafted else 1.0
    box = None if region == (0, 0, width, height) else (left * shrunk, top * shrunk, right * shrunk, bottom * shrunk)
    small = _opaque(image).resize(target, Image.Resampling.LANCZOS, box=box, reducing_gap=GAP)
    square = Image.new("RGB", (size, size), "white")
    # The colours come last: by now the picture is small, so that their conversion costs little.
    in_srgb = _to_srgb(small, image.info.get("icc_profile"))
    square.paste(in_srgb, ((size - target[0]) // 2, (size - target[1]) // 2))
    return square


def _middle(region: Region) -> Region:
    """The square of the shorter side in the middle, by whole pixels, so that nothing is blurred that keeps its size."""
    left, top, right, bottom = region
    side = min(right - left, bottom - top)
    left += (right - left - side) // 2
    top += (bottom - top - side) // 2
    return left, top, left + side, top + side


def _upright(square: Image.Image, image: Image.Image) -> Image.Image:
    """The square turned as the EXIF tag of its picture says that the camera was held."""
    try:
        square.getexif()[ExifTags.Base.Orientation] = image.getexif().get(ExifTags.Base.Orientation)
        return ImageOps.exif_transpose(square)
    except Exception:  # Pillow raises nearly anything on damaged EXIF, and the picture itself is sound
        return square


def _opaque(image: Image.Image) -> Image.Image:
    """The picture as L, CMYK or RGB, what is transparent white as on a page.

    Raises UnfitError for colours of 16 bits that hold 8, 10 or 12: Pillow, which keeps 8 of 16, makes them black.
    """
    if deep_greys.is_deep(image):
        return deep_greys.shown(image)
    of_16_bits = any(";16" in str(tile.args) for tile in getattr(image, "tile", []))
    mode = "CMYK" if image.mode == "CMYK" else "L" if image.mode in ("1", "L", "LA", "La") else "RGB"
    if image.has_transparency_data:
        layered = _with_transparency_of_8_bits(image).convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", layered.size, "white"), layered)
    shown = image if image.mode == mode else image.convert(mode)  # `convert` copies even what it need not change
    if of_16_bits and max(most for _, most in ImageStat.Stat(shown).extrema) < 256 * deep_greys.DARKEST:
        raise UnfitError("has colours of 16 bits, all of them nearly black: save it with 8 bits")
    return shown


def _with_transparency_of_8_bits(image: Image.Image) -> Image.Image:
    """The one transparent level of a PNG brought to 8 bits, as Pillow does with the pixels but not with it."""
    unpacked_as = image.tile[0].args if isinstance(image, PngImagePlugin.PngImageFile) and image.tile else None
    to_8_bits = _TO_8_BITS.get(str(unpacked_as))
    if to_8_bits is None:
        return image
    levels = image.info["transparency"]
    image = image.copy()
    image.info["transparency"] = tuple(map(to_8_bits, levels)) if isinstance(levels, tuple) else to_8_bits(levels)
    return image


def _to_srgb(picture: Image.Image, profile: bytes | None) -> Image.Image:
    transform = _transform(profile, picture.mode) if profile else None
    converted = ImageCms.applyTransform(picture, transform) if transform else None
    return converted or picture.convert("RGB")


@lru_cache(maxsize=8)  # a data set has few profiles, and building a transform costs more than decoding a photo
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """From the profile's colours to sRGB; None for a profile that is damaged or not of pictures of this mode."""
    try:
        return ImageCms.buildTransform(ImageCms.ImageCmsProfile(io.BytesIO(profile)), _SRGB, mode, "RGB")
    except (ImageCms.PyCMSError, OSError, TypeError, ValueError):
        return None
