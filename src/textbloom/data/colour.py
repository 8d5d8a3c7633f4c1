"""The colours a picture shows, as sRGB: its profile followed, what is transparent white, deep greys in 8 bits."""

import io
from functools import lru_cache

import numpy as np
from PIL import Image, ImageCms

_SRGB = ImageCms.createProfile("sRGB")
# The many profiles that are sRGB differ by rounding, at most this many of 255 levels; they are left alone.
_SAME = 4
_GREYS = ("1", "L", "LA", "La", "I", "I;16", "I;16L", "I;16B", "I;16N", "F")


def flat(image: Image.Image) -> tuple[Image.Image, ImageCms.ImageCmsTransform | None]:
    """The picture opaque, ready to be resized, and what then makes its colours sRGB (None: they are).

    Without a transform the mode is RGB; with one it is the profile's: RGB, L or CMYK. What is transparent becomes
    white, as on a page. A profile that is damaged, or not of the picture's kind, counts as none.
    """
    profile = image.info.get("icc_profile")
    mode = _mode(profile, image.mode) if isinstance(profile, bytes) else None
    transform = _transform(profile, mode) if mode else None
    opaque, wanted = _on_white(_eight_bits(image)), mode if transform and mode else "RGB"
    return opaque if opaque.mode == wanted else opaque.convert(wanted), transform  # an idle conversion copies


def to_srgb(image: Image.Image, transform: ImageCms.ImageCmsTransform | None) -> Image.Image:
    """`flat`'s picture, resized since, as RGB: by then it is small, so the profile costs little."""
    if transform is None:
        return image
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


def _mode(profile: bytes, mode: str) -> str | None:
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
    probe = _lattice(mode)
    shown = np.asarray(to_srgb(probe, transform)).astype(int)
    return None if np.abs(shown - np.asarray(probe.convert("RGB"))).max() <= _SAME else transform


def _lattice(mode: str) -> Image.Image:
    """A picture with colours from all over the mode's cube."""
    bands = len(Image.new(mode, (1, 1)).getbands())
    levels = np.linspace(0, 255, 9).astype(np.uint8)
    colours = np.stack(np.meshgrid(*[levels] * bands), axis=-1).reshape(1, -1, bands)
    return Image.fromarray(colours[..., 0] if bands == 1 else colours, mode=mode)
