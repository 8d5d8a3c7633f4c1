"""Sheets: text that stays off the pictures, pictures that keep their pixels, bytes that depend on the content alone."""

from pathlib import Path

import matplotlib
import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image
from torch import Tensor

from textbloom.viz.sheet import INK, MARGIN, NO_GLYPH, QUIET, TEXT, TITLE, Row, Sheet, text_width, wrap

RED = (220, 0, 0)
LONG = "this exceptionally well described flower has far more petals than anybody could count " * 20
UNBROKEN = "chrysanthemum" * 60


def plain(count: int, size: int = 64) -> Tensor:
    """Red pictures, uint8 [count, 3, size, size]."""
    return torch.tensor(RED, dtype=torch.uint8)[None, :, None, None].expand(count, -1, size, size)


def drawn(sheet: Sheet, folder: Path) -> np.ndarray:
    """The page, uint8 [height, width, 3]."""
    sheet.save(folder / "sheet.png")
    with Image.open(folder / "sheet.png") as image:
        return np.asarray(image.convert("RGB"))


def runs(mask: npt.ArrayLike) -> list[tuple[int, int]]:
    """The half-open intervals in which a boolean vector is true."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], np.asarray(mask, dtype=int), [0]])))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def inked(page: np.ndarray) -> np.ndarray:
    """Where a page is not white, bool [height, width]."""
    return np.asarray(np.any(page < 255, axis=2))


def places(page: np.ndarray) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """The horizontal and the vertical intervals that the pictures take."""
    mask = np.asarray(np.all(page == np.array(RED), axis=2))
    return runs(mask.any(axis=0)), runs(mask.any(axis=1))


@pytest.mark.parametrize("captions", [["a rose", LONG], [LONG, UNBROKEN], [UNBROKEN, "a rose"]])
def test_captions_of_any_length_stay_beneath_their_own_picture(tmp_path: Path, captions: list[str]) -> None:
    page = drawn(Sheet([Row(plain(2), beneath=captions)] * 2, title=LONG, gap=26, row_gap=24), tmp_path)
    across, down = places(page)
    assert [end - start for start, end in across + down] == [192] * 4, "no letter lies on a picture"
    ink = inked(page)
    gutters = np.ones(page.shape[1], dtype=bool)
    for start, end in across:
        gutters[start:end] = False
    assert not ink[down[0][0] :, gutters].any(), "nothing is written between the columns or in the margins"
    for start, end in across:
        for bottom, next_top in zip([down[0][1], down[1][1]], [down[1][0], len(page)], strict=True):
            written = runs(ink[bottom:next_top, start:end].any(axis=1))
            assert written, "every picture has its caption"
            assert bottom + written[-1][1] <= next_top - 10, "there is white between a caption and the next row"


@pytest.mark.parametrize(("size", "side"), [(64, 192), (128, 256)])
def test_a_picture_is_enlarged_by_a_whole_number_and_keeps_its_pixels(tmp_path: Path, size: int, side: int) -> None:
    # Smooth, so that the enlargement's interpolation hardly moves the mean of a pixel's block.
    ramp = torch.linspace(0, 200, size)
    picture = torch.stack([ramp.expand(size, size), ramp.expand(size, size).T, torch.full((size, size), 90.0)])
    page = drawn(Sheet([Row(picture.to(torch.uint8).unsqueeze(0))]), tmp_path)
    shown = page[MARGIN : MARGIN + side, MARGIN : MARGIN + side].astype(float)
    blocks = shown.reshape(size, side // size, size, side // size, 3).mean(axis=(1, 3))
    assert np.abs(blocks - picture.to(torch.uint8).permute(1, 2, 0).numpy()).max() < 2.0


def test_a_picture_of_the_wanted_size_is_copied_bit_for_bit(tmp_path: Path) -> None:
    picture = torch.randint(0, 256, (1, 3, 64, 64), dtype=torch.uint8)
    page = drawn(Sheet([Row(picture, left="left", beneath=["beneath"])], title="title", tile=64), tmp_path)
    place = next(
        page[y : y + 64, x : x + 64]
        for y in range(len(page) - 63)
        for x in range(page.shape[1] - 63)
        if page[y, x].tolist() == picture[0, :, 0, 0].tolist()
    )
    assert np.array_equal(place, picture[0].permute(1, 2, 0))


def test_equal_sheets_are_equal_files_without_metadata_whatever_the_machines_settings(tmp_path: Path) -> None:
    pictures = torch.randint(0, 256, (3, 3, 64, 64), dtype=torch.uint8)

    def saved(last: str) -> bytes:
        Sheet([Row(pictures, beneath=["a", "b", last])], title="Title").save(tmp_path / "sheet.png")
        return (tmp_path / "sheet.png").read_bytes()

    first = saved("c")
    with matplotlib.rc_context({"font.size": 30, "figure.facecolor": "black", "text.hinting": "none"}):
        assert saved("c") == first
    with Image.open(tmp_path / "sheet.png") as image:
        assert (image.info, image.mode) == ({}, "RGB")
    assert saved("d") != first


def test_headings_stand_over_their_columns_and_may_run_on_over_empty_ones(tmp_path: Path) -> None:
    page = drawn(Sheet([Row(plain(3))], headings=["a flower", "another flower that blooms " * 2, ""], gap=16), tmp_path)
    across, down = places(page)
    head = inked(page)[: down[0][0]]
    assert head[:, slice(*across[0])].any()
    assert not head[:, across[0][1] : across[1][0]].any()
    assert head[:, across[1][0] : across[2][0]].any() and head[:, slice(*across[2])].any()
    assert not head[:, across[2][1] :].any()


def test_text_beside_a_row_leaves_the_pictures_and_the_other_rows_alone(tmp_path: Path) -> None:
    rows = [Row(plain(2), left=LONG, right=UNBROKEN)] * 2
    page = drawn(Sheet(rows, row_gap=20, tile=128, first_apart=True), tmp_path)
    across, down = places(page)
    assert [end - start for start, end in across + down] == [128] * 4
    ink = inked(page)
    assert not ink[down[0][1] : down[1][0]].any(), "between the rows is white"
    assert ink[: down[0][1], : across[0][0]].any()
    assert ink[: down[0][1], across[1][1] :].any()
    assert not ink[:, :30].any()
    assert not ink[:, -30:].any()


def test_tags_take_a_grey_line_of_their_own(tmp_path: Path) -> None:
    def look(tags: list[str], beneath: list[str]) -> tuple[int, set[str]]:
        page = drawn(Sheet([Row(plain(1), tags=tags, beneath=beneath)]), tmp_path)
        colours = {f"#{bytes(colour).hex()}" for colour in np.unique(page.reshape(-1, 3), axis=0)}
        return len(page), colours & {INK, QUIET}

    bare, tagged, both = look([], []), look(["████"], []), look(["████"], ["████"])
    assert bare[0] < tagged[0] < both[0]
    assert (bare[1], tagged[1], both[1]) == (set(), {QUIET}, {INK, QUIET})


def test_characters_that_the_font_lacks_are_named_once_and_drawn_as_boxes(tmp_path: Path, capsys, recwarn) -> None:
    row = Row(plain(2), left="naïve 花 \t Ω", beneath=["花 🌸", "plain"])
    page = drawn(Sheet([row]), tmp_path)
    assert capsys.readouterr().err == f"sheet: no glyph for 花 🌸, drawn as □ in {tmp_path / 'sheet.png'}\n"
    boxes = Row(plain(2), left="naïve □ Ω", beneath=["□ □", "plain"])
    assert np.array_equal(page, drawn(Sheet([boxes]), tmp_path))
    assert capsys.readouterr().err == "" and not recwarn.list


def test_of_many_characters_that_the_font_lacks_some_are_named_and_the_others_counted(tmp_path: Path, capsys) -> None:
    drawn(Sheet([Row(plain(1), beneath=["".join(chr(0x4E00 + number) for number in range(30))])]), tmp_path)
    said = capsys.readouterr().err
    assert said.startswith("sheet: no glyph for 一 ")
    assert f"{chr(0x4E00 + 19)} and 10 more, drawn as □" in said


def test_a_dollar_sign_is_text(tmp_path: Path) -> None:
    pages = [drawn(Sheet([Row(plain(1), beneath=[text])]), tmp_path) for text in ("$5$", "$5")]
    first, second = (inked(page)[:, : MARGIN + 12] for page in pages)
    assert np.array_equal(first, second), "both begin with a dollar, and neither is a formula"


@pytest.mark.parametrize("width", [40, 192, 500])
@pytest.mark.parametrize("text", ["a rose", LONG, UNBROKEN, f"one {UNBROKEN} two", "naïve 中文 🌸", "W" * 30, " \n\t "])
def test_every_line_fits_and_nothing_is_lost_where_there_is_room(text: str, width: int) -> None:
    lines = wrap(text, width, lines=10_000)
    assert all(text_width(line) <= width for line in lines)
    shown = text.translate(dict.fromkeys(map(ord, "中文🌸"), NO_GLYPH))
    assert "".join(lines).replace(" ", "") == "".join(shown.split())


def test_words_stay_whole_where_they_fit_a_line() -> None:
    assert " ".join(wrap(LONG, 192, lines=10_000)) == LONG.strip()


@pytest.mark.parametrize(("size", "width"), [(TEXT, 130), (TEXT, 192), (TEXT, 256), (TITLE, 400)])
def test_an_ellipsis_marks_what_is_left_out(size: int, width: int) -> None:
    lines = wrap(LONG, width, 3, size)
    assert len(lines) == 3
    assert lines[-1].endswith("…")
    assert all(text_width(line, size) <= width for line in lines)
    kept = " ".join(lines).removesuffix("…")
    assert LONG.startswith(kept)
    assert set(kept.split()) <= set(LONG.split()), "no word is cut"
