import io
import random
import re

import numpy as np
import pytest
import tiny_flowers as tiny
from PIL import Image, ImageOps

from textbloom.datasets import pictures
from textbloom.datasets.base import Photo
from textbloom.errors import UserError


def photo(data: bytes, image_id: int = 1) -> Photo:
    return Photo(image_id, tiny.photo_name(image_id), data)


def encoded(image: Image.Image, format: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def smooth(width: int, height: int) -> Image.Image:
    return Image.open(io.BytesIO(tiny.jpeg(0, width, height))).convert("RGB")


def detailed(width: int, height: int) -> Image.Image:
    """Edges and grain at every scale, more of them than photos have."""
    grain = np.random.default_rng(0).integers(0, 256, (height // 6 + 1, width // 6 + 1, 3), dtype=np.uint8)
    return Image.fromarray(grain).resize((width, height), Image.Resampling.NEAREST)


def array(image: Image.Image) -> np.ndarray:
    return np.asarray(image).transpose(2, 0, 1)


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
    decoded = pictures.decode(photo(data), size)
    assert decoded.shape == (3, size, size)
    assert decoded.dtype == np.uint8
    assert np.abs(decoded.astype(int) - exact).mean() < 3  # of 255; on photos it is ten times less


def test_a_photo_that_has_the_size_already_is_left_as_it_is():
    image = smooth(64, 64)
    np.testing.assert_array_equal(pictures.decode(photo(encoded(image)), 64), array(image))


@pytest.mark.parametrize("mode", ["L", "1", "P", "CMYK", "RGBA", "LA", "YCbCr"])
def test_every_colour_mode_becomes_the_rgb_it_shows(mode):
    grey = Image.new("RGB", (64, 64), (255, 255, 255))
    grey.paste((0, 0, 0), (0, 0, 32, 64))
    data = encoded(grey.convert(mode), "JPEG" if mode in ("CMYK", "YCbCr") else "PNG")
    decoded = pictures.decode(photo(data), 64)
    assert decoded[:, :, :24].max() <= 8
    assert decoded[:, :, 40:].min() >= 247


def test_what_is_transparent_becomes_white():
    image = Image.new("RGBA", (64, 64), (0, 0, 0, 0))
    image.paste((255, 0, 0, 255), (0, 0, 32, 64))
    decoded = pictures.decode(photo(encoded(image)), 64)
    assert corner_colours(decoded) == [RED, WHITE, RED, WHITE]


def held(orientation: int) -> bytes:
    """The quadrants as a camera held that way writes them."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(quadrants(), "JPEG", quality=95, exif=exif)


@pytest.mark.parametrize(
    ("orientation", "corners"),
    [
        (1, [RED, GREEN, BLUE, WHITE]),
        (3, [WHITE, BLUE, GREEN, RED]),  # upside down
        (6, [BLUE, RED, WHITE, GREEN]),  # camera on its side: to be turned clockwise
        (8, [GREEN, WHITE, RED, BLUE]),
    ],
)
def test_a_photo_taken_on_its_side_is_turned_upright(orientation, corners):
    assert corner_colours(pictures.decode(photo(held(orientation)), 64)) == corners


@pytest.mark.parametrize("orientation", range(1, 10))
def test_every_orientation_is_that_of_pillow(orientation):
    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(held(orientation)))).resize((64, 64))
    assert corner_colours(pictures.decode(photo(held(orientation)), 64)) == corner_colours(array(expected))


def test_damaged_exif_spoils_no_sound_photo():
    whole, chance = held(6), random.Random(0)
    start = whole.index(b"Exif") + 6
    photos = []
    for id_ in range(300):
        damaged = bytearray(whole)
        for _ in range(2):
            damaged[start + chance.randrange(26)] = chance.randrange(256)
        photos.append(photo(bytes(damaged), id_))
    images = pictures.decode_all(photos, range(300), 64)
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
        pictures.decode_all([photo(tiny.jpeg(1), 1), photo(data, 3)], [1, 3], 64)
    assert "fetch it again" in str(caught.value)


def test_of_several_broken_pictures_the_first_in_the_archive_is_named():
    photos = [photo(tiny.jpeg(id_) if id_ % 5 else b"broken", id_) for id_ in range(1, 40)]
    with pytest.raises(UserError, match=re.escape(tiny.photo_name(5))):
        pictures.decode_all(photos, range(1, 40), 64, workers=3)


def test_any_damage_to_a_jpeg_either_decodes_or_is_a_user_error():
    whole, chance = tiny.jpeg(1), random.Random(0)
    refused = 0
    for _ in range(300):
        damaged = bytearray(whole)
        for _ in range(3):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        try:
            assert pictures.decode_all([photo(bytes(damaged))], [1], 64).shape == (1, 3, 64, 64)
        except UserError:
            refused += 1
    assert refused > 0


@pytest.mark.parametrize("side", [11_000, 20_000], ids=["warned of", "refused outright"])
def test_a_picture_of_enormous_size_is_refused_before_it_is_decoded(side):
    bomb = encoded(Image.new("1", (side, side)))
    assert len(bomb) < 2**20
    with pytest.raises(UserError, match=r"image_00001\.jpg.*decompression bomb"):
        pictures.decode_all([photo(bomb)], [1], 64)


@pytest.mark.parametrize("workers", [1, 2, 7])
def test_the_order_follows_the_ids_whatever_the_archives_order_and_the_number_of_workers(workers):
    ids = list(range(1, 40))
    photos = [photo(tiny.jpeg(id_, 100 + 20 * (id_ % 7), 80), id_) for id_ in ids]
    random.Random(0).shuffle(photos)
    used = ids[::3]
    images = pictures.decode_all(photos, used, 64, workers)
    expected = {each.image_id: pictures.decode(each, 64) for each in photos}
    np.testing.assert_array_equal(images, np.stack([expected[id_] for id_ in used]))


def test_photos_are_taken_from_the_archive_only_as_fast_as_they_are_decoded(monkeypatch):
    decoded: list[int] = []
    ahead: list[int] = []

    def slow(each: Photo, size: int) -> np.ndarray:
        decoded.append(each.image_id)
        return np.zeros((3, size, size), dtype=np.uint8)

    def photos():
        for id_ in range(200):
            ahead.append(id_ - len(decoded))
            yield photo(b"", id_)

    monkeypatch.setattr(pictures, "decode", slow)
    pictures.decode_all(photos(), range(200), 8, workers=2)
    assert max(ahead) <= 2 * pictures._AHEAD + 1


def test_an_id_without_a_photo_is_named():
    with pytest.raises(UserError, match="image 2"):
        pictures.decode_all([photo(tiny.jpeg(1))], [1, 2, 3], 64)
