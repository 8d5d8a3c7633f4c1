"""One photo of any format, shape, colour and posture comes out as the square a viewer would show."""

import io
import random
import re

import numpy as np
import pytest
from PIL import Image, ImageOps, PngImagePlugin
from support import icc
from support import tiny_flowers as tiny
from support.pictures import array, encoded, photo

from textbloom.core.errors import UserError
from textbloom.data import decoding
from textbloom.data.base import Box, Photo
from textbloom.data.decoding import decode


def smooth(width: int, height: int) -> Image.Image:
    return Image.open(io.BytesIO(tiny.jpeg(0, width, height))).convert("RGB")


def detailed(width: int, height: int) -> Image.Image:
    """Edges and grain at every scale, more of them than photos have."""
    grain = np.random.default_rng(0).integers(0, 256, (height // 6 + 1, width // 6 + 1, 3), dtype=np.uint8)
    return Image.fromarray(grain).resize((width, height), Image.Resampling.NEAREST)


def quadrants(width: int = 128, height: int = 64) -> Image.Image:
    """Red, green / blue, white."""
    corners = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [255, 255, 255]]], dtype=np.uint8)
    return Image.fromarray(corners).resize((width, height), Image.Resampling.NEAREST)


def corner_colours(image: np.ndarray) -> list[tuple[int, ...]]:
    edge = image.shape[1] // 4
    return [
        tuple(np.rint(image[:, y, x] / 255).astype(int).tolist())
        for y, x in ((edge, edge), (edge, -edge), (-edge, edge), (-edge, -edge))
    ]


RED, GREEN, BLUE, WHITE = (1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 1)


@pytest.mark.parametrize(("width", "height"), [(64, 64), (750, 500), (500, 667), (40, 30), (1, 1), (3000, 100)])
@pytest.mark.parametrize("size", [64, 128])
def test_a_photo_of_any_shape_is_squeezed_as_plain_lanczos_would(width, height, size):
    data = encoded(detailed(width, height), "JPEG", quality=95)
    exact = array(Image.open(io.BytesIO(data)).convert("RGB").resize((size, size), Image.Resampling.LANCZOS))
    decoded = decode(photo(data), size)
    assert decoded.shape == (3, size, size)
    assert decoded.dtype == np.uint8
    assert np.abs(decoded.astype(int) - exact).mean() < 3  # of 255; on photos it is ten times less


def test_a_photo_that_has_the_size_already_is_left_as_it_is():
    image = smooth(64, 64)
    np.testing.assert_array_equal(decode(photo(encoded(image)), 64), array(image))


@pytest.mark.parametrize("mode", ["L", "1", "P", "CMYK", "RGBA", "LA", "YCbCr"])
def test_every_colour_mode_becomes_the_rgb_it_shows(mode):
    grey = Image.new("RGB", (64, 64), (255, 255, 255))
    grey.paste((0, 0, 0), (0, 0, 32, 64))
    data = encoded(grey.convert(mode), "JPEG" if mode in ("CMYK", "YCbCr") else "PNG")
    decoded = decode(photo(data), 64)
    assert decoded[:, :, :24].max() <= 8
    assert decoded[:, :, 40:].min() >= 247


def test_what_is_transparent_becomes_white():
    image = Image.new("RGBA", (64, 64), (0, 0, 0, 0))
    image.paste((255, 0, 0, 255), (0, 0, 32, 64))
    decoded = decode(photo(encoded(image)), 64)
    assert corner_colours(decoded) == [RED, WHITE, RED, WHITE]


def held(orientation: int, format: str = "JPEG") -> bytes:
    """The quadrants as a camera held that way writes them."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(quadrants(), format, quality=95, exif=exif)


@pytest.mark.parametrize(
    ("orientation", "corners"),
    [
        (1, [RED, GREEN, BLUE, WHITE]),
        (3, [WHITE, BLUE, GREEN, RED]),  # upside down
        (6, [BLUE, RED, WHITE, GREEN]),  # camera on its side: to be turned clockwise
        (8, [GREEN, WHITE, RED, BLUE]),
    ],
)
@pytest.mark.parametrize("format", ["JPEG", "WEBP", "AVIF"])
def test_a_photo_taken_on_its_side_is_turned_upright(orientation, corners, format):
    assert corner_colours(decode(photo(held(orientation, format)), 64)) == corners


@pytest.mark.parametrize("orientation", range(1, 10))
def test_every_orientation_is_that_of_pillow(orientation):
    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(held(orientation)))).resize((64, 64))
    assert corner_colours(decode(photo(held(orientation)), 64)) == corner_colours(array(expected))


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow warns of it
def test_damaged_exif_spoils_no_sound_photo():
    whole, chance = held(6), random.Random(0)
    start = whole.index(b"Exif") + 6
    photos = []
    for id_ in range(300):
        damaged = bytearray(whole)
        for _ in range(2):
            damaged[start + chance.randrange(26)] = chance.randrange(256)
        photos.append(photo(bytes(damaged), id_))
    images = [decode(each, 64) for each in photos]
    assert {tuple(sorted(corner_colours(image))) for image in images} == {(BLUE, GREEN, RED, WHITE)}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"<html>not here</html>",
        tiny.jpeg(1)[:20],
        tiny.jpeg(1)[:-200],
        encoded(smooth(64, 64))[:-200],
        encoded(smooth(64, 64)).replace(b"IDAT", b"IDAX"),
    ],
    ids=["empty", "web page", "JPEG header cut", "JPEG cut", "PNG cut", "PNG damaged"],
)
def test_a_broken_picture_is_named_with_the_mend(data):
    with pytest.raises(UserError, match=re.escape(tiny.photo_name(3))) as caught:
        decode(photo(data, 3), 64)
    assert "fetch it again" in str(caught.value)


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow warns of some damage
@pytest.mark.parametrize(
    ("format", "greys"),
    [(each, (0,)) for each in ("JPEG", "BMP", "TIFF", "WEBP", "GIF", "AVIF")]
    + [(each, (255, 100, 0)) for each in ("WEBP", "GIF", "AVIF")],
)
def test_any_damage_to_a_picture_either_decodes_or_is_a_user_error(format, greys, monkeypatch):
    monkeypatch.setattr(decoding, "PIXELS", 10**6)  # damaged sizes take long
    whole, chance = animated(format, *greys), random.Random(1)
    refused = 0
    for start in (64, 200, len(whole)):
        for _ in range(60):
            damaged = bytearray(whole)
            for _ in range(3):
                damaged[chance.randrange(min(start, len(whole)))] = chance.randrange(256)
            try:
                assert decode(photo(bytes(damaged)), 64).shape == (3, 64, 64)
            except UserError:
                refused += 1
    assert refused > 0


def test_a_jpeg_of_200_megapixels_is_taken_for_it_decodes_smaller():
    image = Image.linear_gradient("L").resize((16_320, 12_240))
    decoded = decode(photo(encoded(image, "JPEG", quality=50)), 64)
    plain = array(Image.linear_gradient("L").resize((64, 64)).convert("RGB")).astype(int)
    assert np.abs(decoded - plain).max() <= 3


@pytest.mark.parametrize(
    ("format", "options"), [("PNG", {}), ("JPEG", {"progressive": True})], ids=["PNG", "progressive JPEG"]
)
def test_a_picture_too_large_to_be_held_is_refused_before_it_is_decoded(format, options):
    huge = encoded(Image.new("L", (12_000, 9_000)), format, **options)
    with pytest.raises(UserError, match=r"image_00001\.jpg has 108 megapixels, at most 89: scale it down$"):
        decode(photo(huge), 64)


def test_a_jpeg_too_large_to_be_held_at_the_wanted_size_is_refused():
    broad = photo(encoded(Image.new("L", (65_000, 1_400)), "JPEG", quality=50))
    with pytest.raises(UserError, match=r"image_00001\.jpg has 91 megapixels, at most 89"):
        decode(broad, 512)
    assert decode(broad, 64).shape == (3, 64, 64)


@pytest.mark.parametrize("profile", [None, icc.srgb()], ids=["no profile", "sRGB"])
def test_an_ordinary_photo_is_drafted_and_resized_and_otherwise_left_alone(profile):
    data = encoded(detailed(750, 500), "JPEG", quality=90, **({"icc_profile": profile} if profile else {}))
    image = Image.open(io.BytesIO(data))
    image.draft(None, (192, 192))
    plain = image.convert("RGB").resize((64, 64), Image.Resampling.LANCZOS, reducing_gap=3.0)
    np.testing.assert_array_equal(decode(photo(data), 64), array(plain))


def test_a_crop_keeps_the_middle_and_a_stretch_keeps_all():
    thirds = Image.new("RGB", (192, 64), (255, 0, 0))
    thirds.paste((0, 255, 0), (64, 0, 128, 64))
    thirds.paste((0, 0, 255), (128, 0, 192, 64))
    data = encoded(thirds)
    np.testing.assert_array_equal(decode(photo(data), 64, "crop"), array(thirds.crop((64, 0, 128, 64))))
    upright = encoded(thirds.transpose(Image.Transpose.ROTATE_90))
    assert (decode(photo(upright), 64, "crop")[1] == 255).all()
    assert corner_colours(decode(photo(data), 64, "stretch")) == [RED, BLUE, RED, BLUE]


@pytest.mark.parametrize("turned", [False, True])
def test_a_pad_keeps_the_whole_picture_in_its_shape_on_white(turned):
    image = Image.fromarray(255 - np.asarray(quadrants(128, 64)))
    small = array(image.resize((64, 32), Image.Resampling.LANCZOS))
    padded = decode(photo(encoded(image.transpose(Image.Transpose.ROTATE_90) if turned else image)), 64, "pad")
    if turned:
        padded = np.rot90(padded, -1, (1, 2))
    assert (padded[:, :16] == 255).all()
    assert (padded[:, 48:] == 255).all()
    assert np.abs(padded[:, 16:48].astype(int) - small).max() <= 4  # Lanczos rounds after each of its two passes


@pytest.mark.parametrize("fit", ["stretch", "crop", "pad"])
@pytest.mark.parametrize(("width", "height"), [(1, 1), (1000, 1), (1, 300), (40, 30)])
def test_every_fit_takes_every_shape(fit, width, height):
    data = encoded(Image.new("RGB", (width, height), (255, 0, 0)), "JPEG")
    decoded = decode(photo(data), 64, fit, 0.75)
    assert decoded.shape == (3, 64, 64)
    assert decoded[:, 32, 32].argmax() == 0


def coordinates(width: int, height: int) -> Image.Image:
    """Red tells how far across a pixel is, green how far down: 255 at the far edges."""
    across = np.broadcast_to((np.arange(width) + 0.5) / width, (height, width))
    down = np.broadcast_to(((np.arange(height) + 0.5) / height)[:, None], (height, width))
    return Image.fromarray(np.rint(np.stack([across, down, 0 * down], axis=2) * 255).astype(np.uint8))


def seen(decoded: np.ndarray, width: int, height: int) -> list[float]:
    """Left, top, right, bottom of what a picture of `coordinates` shows, in its pixels."""
    size, edges = decoded.shape[1], []
    inner = slice(size // 8, -size // 8)
    for band, length in ((decoded[0].mean(0), width), (decoded[1].mean(1), height)):
        slope, start = np.polyfit(np.arange(size)[inner] + 0.5, band[inner] / 255 * length, 1)
        edges.append((start, start + size * slope))
    return [edges[0][0], edges[1][0], edges[0][1], edges[1][1]]


@pytest.mark.parametrize(
    ("box", "share", "region"),
    [
        (Box(160, 120, 60, 90), 0.75, (130, 105, 250, 225)),  # square of 90 / 0.75 round (190, 165)
        (Box(160, 120, 90, 60), 1.0, (160, 105, 250, 195)),
        (Box(0, 0, 60, 90), 0.75, (0, 0, 90, 105)),  # clipped left and above
        (Box(340, 210, 60, 90), 0.75, (310, 195, 400, 300)),  # clipped right and below
        (Box(100, 0, 200, 300), 0.75, (0, 0, 400, 300)),
        (None, 0.75, (0, 0, 400, 300)),
        (Box(160, 120, 60, 90), None, (0, 0, 400, 300)),
    ],
)
@pytest.mark.parametrize("format", ["PNG", "JPEG"])
@pytest.mark.parametrize("size", [32, 64])
def test_the_box_takes_its_share_of_a_square_clipped_by_the_picture(box, share, region, format, size):
    data = encoded(coordinates(400, 300), format, **({"quality": 100} if format == "JPEG" else {}))
    decoded = decode(Photo(1, "a", data, box), size, "stretch", share)
    np.testing.assert_allclose(seen(decoded, 400, 300), region, atol=2.5)


def test_the_box_finds_its_place_in_a_jpeg_that_is_decoded_smaller():
    data = encoded(coordinates(1603, 1201), "JPEG", quality=100)  # at 32 px an eighth of the pixels suffices
    decoded = decode(Photo(1, "a", data, Box(400, 300, 600, 660)), 32, "stretch", 0.75)
    np.testing.assert_allclose(seen(decoded, 1603, 1201), (260, 190, 1140, 1070), atol=10)


def test_a_fit_applies_to_what_the_box_left():
    boxed = Photo(1, "a", encoded(coordinates(400, 300)), Box(0, 120, 60, 90))  # region 0, 105, 90, 225
    np.testing.assert_allclose(seen(decode(boxed, 64, "crop", 0.75), 400, 300), (0, 120, 90, 210), atol=2.5)
    padded = decode(boxed, 64, "pad", 0.75)
    assert (padded[2] == 255).mean(0).tolist() == [1.0] * 8 + [0.0] * 48 + [1.0] * 8


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("fit", ["stretch", "crop", "pad"])
def test_the_box_is_in_pixels_of_the_picture_as_stored(orientation, fit):
    exif = Image.Exif()
    exif[0x0112] = orientation
    image, box = coordinates(400, 300), Box(20, 120, 60, 90)
    turned = decode(Photo(1, "a", encoded(image, exif=exif), box), 64, fit, 0.75)
    flat = Image.fromarray(decode(Photo(1, "a", encoded(image), box), 64, fit, 0.75).transpose(1, 2, 0))
    flat.getexif()[0x0112] = orientation
    np.testing.assert_array_equal(turned, array(ImageOps.exif_transpose(flat)))


def test_a_small_box_in_a_large_jpeg_keeps_its_detail():
    data = encoded(detailed(2400, 1600), "JPEG", quality=95)
    decoded = decode(Photo(1, "a", data, Box(1000, 800, 90, 90)), 64, "stretch", 0.75)
    region = Image.open(io.BytesIO(data)).resize((64, 64), Image.Resampling.LANCZOS, box=(985, 785, 1105, 905))
    assert np.abs(decoded.astype(int) - array(region)).mean() < 1


@pytest.mark.parametrize("box", [Box(500, 0, 60, 90), Box(0, -200, 60, 90)])
def test_a_box_outside_its_picture_is_named(box):
    with pytest.raises(UserError, match=r"photo a: its box .*400 × 300.*images\.box_share"):
        decode(Photo(1, "a", encoded(coordinates(400, 300)), box), 64, "stretch", 0.75)


def frames(*greys: int) -> list[Image.Image]:
    """Frames whose left half is white and whose right half has these greys."""
    made = [Image.new("RGB", (64, 64), (255, 255, 255)) for _ in greys]
    for frame, grey in zip(made, greys, strict=True):
        frame.paste((grey, grey, grey), (32, 0, 64, 64))
    return made


def animated(format: str, *greys: int) -> bytes:
    first, *others = frames(*greys)
    options: dict[str, object] = {"lossless": True, "quality": 100}
    if others:
        options |= {"save_all": True, "append_images": others, "duration": 100}
    return encoded(first, format, **options)


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG", "AVIF"])
@pytest.mark.parametrize(
    ("greys", "shown"),
    [((255, 250, 130, 0, 10), 0), ((255, 100, 0), 100), ((40, 0, 20), 40), ((200, 230), 200), ((255, 255), 255)],
    ids=["fades in slowly", "fades in fast", "begins at once", "fades out", "stays blank"],
)
def test_an_animation_gives_its_first_frame_that_shows_something(format, greys, shown):
    decoded = decode(photo(animated(format, *greys)), 64)
    assert abs(int(decoded[0, 32, 56]) - shown) <= 3
    assert decoded[0, 32, 8] >= 252


def test_an_animation_that_fades_in_from_transparent_is_seen_on_white():
    clear, red = Image.new("RGBA", (64, 64)), Image.new("RGBA", (64, 64))
    red.paste((255, 0, 0, 255), (0, 0, 32, 64))
    data = encoded(clear, "PNG", save_all=True, append_images=[red])
    assert corner_colours(decode(photo(data), 64)) == [RED, WHITE, RED, WHITE]


def test_further_pages_and_previews_are_no_animation():
    blank, full = frames(255, 0)
    data = encoded(blank, "TIFF", save_all=True, append_images=[full])
    assert decode(photo(data), 64).min() == 255


def test_what_a_png_says_about_itself_may_be_long_but_not_endless():
    for length, chunks in ((5, 1), (33, 2)):
        about = PngImagePlugin.PngInfo()
        for number in range(chunks):
            about.add_text(f"prompt {number}", "x" * (length << 20), zip=True)
        data = encoded(smooth(64, 64), pnginfo=about)
        if length * chunks < 64:
            np.testing.assert_array_equal(decode(photo(data), 64), array(smooth(64, 64)))
        else:
            with pytest.raises(UserError, match=r"image_00001\.jpg cannot be decoded \(.*(?i:text)"):
                decode(photo(data), 64)


def test_bytes_of_another_kind_are_named_without_the_address_of_a_buffer():
    for data in (b"<html>", encoded(smooth(64, 64), "PPM")):
        with pytest.raises(UserError, match=r"\(its bytes are of none of the kinds JPEG, PNG, .*, AVIF, or of a form"):
            decode(photo(data), 64)
