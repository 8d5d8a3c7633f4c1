"""Sheets of captioned pictures, and loss curves."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image
from torch import Tensor

from textbloom.core.errors import UserError
from textbloom.viz import typesetting
from textbloom.viz.curves import loss_curves
from textbloom.viz.grids import caption_grid, progress_sheet
from textbloom.viz.sheet import Row, Sheet

RED = (220, 0, 0)
SIDE = 192  # pixels of a 64×64 picture on a sheet
LONG = "this exceptionally well described flower has far more petals than anybody could count " * 20
UNBROKEN = "chrysanthemum" * 60


def plain(colours: list[tuple[int, int, int]], size: int = 64) -> Tensor:
    """One picture of a single colour each, uint8 [n, 3, size, size]."""
    return torch.tensor(colours, dtype=torch.uint8)[:, :, None, None].expand(-1, -1, size, size)


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def runs(mask: npt.ArrayLike) -> list[tuple[int, int]]:
    """The half-open intervals in which a boolean vector is true."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], np.asarray(mask, dtype=int), [0]])))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def inked(page: np.ndarray) -> np.ndarray:
    """Where a page is not white, bool [height, width]."""
    return np.asarray(np.any(page < 255, axis=2))


def curve(page: np.ndarray) -> np.ndarray:
    """Where a page has the colour of a loss curve, bool [height, width]."""
    return np.asarray(np.all(np.abs(page.astype(int) - (0x7A, 0x3B, 0x8F)) < 8, axis=2))


def places(page: np.ndarray, colour: tuple[int, int, int] = RED) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """The horizontal and the vertical intervals that pictures of `colour` take."""
    mask = np.asarray(np.all(page == np.array(colour), axis=2))
    return runs(mask.any(axis=0)), runs(mask.any(axis=1))


@pytest.mark.parametrize("captions", [["a rose", LONG], [LONG, UNBROKEN], [UNBROKEN, "a rose"]])
def test_captions_of_any_length_stay_beneath_their_own_picture(tmp_path: Path, captions: list[str]) -> None:
    path = tmp_path / "grid.png"
    caption_grid(plain([RED] * 4), [*captions, *captions], path, columns=2, title=LONG)

    page = pixels(path)
    across, down = places(page)
    assert [end - start for start, end in across + down] == [SIDE] * 4, "no letter lies on a picture"
    ink = inked(page)
    below_title = ink[down[0][0] :]
    gutters = np.ones(page.shape[1], dtype=bool)
    for start, end in across:
        gutters[start:end] = False
    assert not below_title[:, gutters].any(), "nothing is written between the columns or in the margins"
    for start, end in across:
        for bottom, next_top in zip([down[0][1], down[1][1]], [down[1][0], len(page)], strict=True):
            written = runs(ink[bottom:next_top, start:end].any(axis=1))
            assert written, "every picture has its caption"
            assert bottom + written[-1][1] <= next_top - 10, "there is white between a caption and the next row"


def test_pictures_stand_in_reading_order(tmp_path: Path) -> None:
    colours = [(40 * number, 255 - 40 * number, 20) for number in range(5)]
    path = tmp_path / "grid.png"
    caption_grid(plain(colours), ["a flower"] * 5, path, columns=3)

    page = pixels(path)
    corners = [(down[0][0], across[0][0]) for across, down in (places(page, colour) for colour in colours)]
    assert corners == sorted(corners)
    assert len({top for top, _ in corners}) == 2
    assert [left for _, left in corners[:2]] == [left for _, left in corners[3:]]


@pytest.mark.parametrize(("size", "side"), [(64, 192), (128, 256)])
def test_a_picture_is_enlarged_by_a_whole_number_and_keeps_its_pixels(tmp_path: Path, size: int, side: int) -> None:
    # Smooth, so that the enlargement's interpolation hardly moves the mean of a pixel's block.
    ramp = torch.linspace(0, 200, size)
    picture = torch.stack([ramp.expand(size, size), ramp.expand(size, size).T, torch.full((size, size), 90.0)])
    path = tmp_path / "sheet.png"
    Sheet([Row(picture.to(torch.uint8).unsqueeze(0))]).save(path)

    shown = pixels(path)[36 : 36 + side, 36 : 36 + side].astype(float)
    blocks = shown.reshape(size, side // size, size, side // size, 3).mean(axis=(1, 3))
    assert np.abs(blocks - picture.to(torch.uint8).permute(1, 2, 0).numpy()).max() < 2.0


def test_equal_input_gives_equal_bytes_and_no_metadata(tmp_path: Path) -> None:
    pictures = torch.randint(0, 256, (3, 3, 64, 64), dtype=torch.uint8)
    for name in ("first.png", "second.png"):
        caption_grid(pictures, ["a", "b", "c"], tmp_path / name, columns=2, title="Title")
    assert (tmp_path / "first.png").read_bytes() == (tmp_path / "second.png").read_bytes()
    with Image.open(tmp_path / "first.png") as image:
        assert image.info == {}

    caption_grid(pictures, ["a", "b", "d"], tmp_path / "second.png", columns=2, title="Title")
    assert (tmp_path / "first.png").read_bytes() != (tmp_path / "second.png").read_bytes()


def test_a_progress_sheet_of_many_epochs_shows_twelve_with_the_first_and_the_last(tmp_path: Path) -> None:
    rows = [(epoch, plain([(epoch, 0, 200)] * 2)) for epoch in range(1, 101)]
    path = tmp_path / "progress.png"
    progress_sheet(rows, ["a flower", LONG], path)

    page = pixels(path).reshape(-1, 3)
    shown = sorted({red for red, green, blue in page[(page[:, 1] == 0) & (page[:, 2] == 200)].tolist()})
    assert len(shown) == 12
    assert (shown[0], shown[-1]) == (1, 100)
    steps = np.diff(shown)
    assert steps.max() - steps.min() <= 1


def test_a_progress_sheet_has_its_epochs_at_the_left_and_its_captions_on_top(tmp_path: Path) -> None:
    path = tmp_path / "progress.png"
    progress_sheet([(1, plain([RED] * 2)), (20, plain([RED] * 2))], ["a flower", UNBROKEN], path)

    page = pixels(path)
    across, down = places(page)
    ink = inked(page)
    assert all(ink[start:end, : across[0][0]].any() for start, end in down), "a label beside each row"
    assert all(ink[: down[0][0], start:end].any() for start, end in across), "a caption over each column"
    assert not ink[:, across[0][1] : across[1][0]].any()
    assert not ink[:, across[1][1] :].any()


def test_text_beside_a_row_leaves_the_pictures_and_the_other_rows_alone(tmp_path: Path) -> None:
    path = tmp_path / "sheet.png"
    Sheet([Row(plain([RED] * 2), left=LONG, right=UNBROKEN)] * 2, row_gap=20, tile=128, first_apart=True).save(path)

    page = pixels(path)
    across, down = places(page)
    assert [end - start for start, end in across + down] == [128] * 4
    ink = inked(page)
    assert not ink[down[0][1] : down[1][0]].any(), "between the rows is white"
    assert ink[: down[0][1], : across[0][0]].any()
    assert ink[: down[0][1], across[1][1] :].any()
    assert not ink[:, :30].any()
    assert not ink[:, -30:].any()


@pytest.mark.parametrize("width", [40, 128, 192, 500])
@pytest.mark.parametrize("text", ["a rose", LONG, UNBROKEN, f"one {UNBROKEN} two", "naïve 中文 🌸", "W" * 30])
def test_every_line_fits_and_nothing_is_lost_where_there_is_room(text: str, width: int) -> None:
    typeface = typesetting.font(15)
    lines = typesetting.wrap(text, typeface, width, lines=10_000)
    assert all(typeface.getlength(line) <= width for line in lines)
    assert "".join(lines).replace(" ", "") == "".join(text.split())


def test_words_stay_whole_where_they_fit_a_line() -> None:
    lines = typesetting.wrap(LONG, typesetting.font(15), 192, lines=10_000)
    assert " ".join(lines) == LONG.strip()


@pytest.mark.parametrize("width", range(130, 260, 10))
@pytest.mark.parametrize("text", [LONG, UNBROKEN])
def test_an_ellipsis_marks_what_is_left_out(text: str, width: int) -> None:
    typeface = typesetting.font(15)
    lines = typesetting.wrap(text, typeface, width, lines=3)
    assert len(lines) == 3
    assert lines[-1].endswith("…")
    assert all(typeface.getlength(line) <= width for line in lines)
    kept = "".join(lines).removesuffix("…").replace(" ", "")
    assert "".join(text.split()).startswith(kept)
    if text is LONG:
        assert set(" ".join(lines).removesuffix("…").split()) <= set(text.split()), "no word is cut"


@pytest.mark.parametrize("text", ["", "   \n\t "])
def test_blank_text_has_no_lines(text: str) -> None:
    assert typesetting.wrap(text, typesetting.font(15), 192, lines=4) == []


def losses_csv(folder: Path, text: str) -> Path:
    path = folder / "losses.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_loss_curves_do_not_depend_on_the_machines_matplotlib_settings(tmp_path: Path) -> None:
    import matplotlib

    table = losses_csv(tmp_path, "epoch,discriminator,generator,d_real\n1,1.5,90,1\n2,1.25,80,2\n3,1.0,75,1\n")
    loss_curves(table, tmp_path / "first.png")
    with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "black", "savefig.dpi": 30, "lines.linestyle": ":"}):
        loss_curves(table, tmp_path / "second.png")
    assert (tmp_path / "first.png").read_bytes() == (tmp_path / "second.png").read_bytes()
    with Image.open(tmp_path / "first.png") as image:
        assert "Software" not in image.info


@pytest.mark.parametrize("columns", [1, 4, 5, 9])
def test_every_loss_has_a_panel_with_a_curve(tmp_path: Path, columns: int) -> None:
    names = [f"loss_{number}" for number in range(columns)]
    rows = [[str(epoch), *(f"{epoch * 10.0**number}" for number in range(columns))] for epoch in range(1, 4)]
    table = losses_csv(tmp_path, "\n".join(",".join(row) for row in [["epoch", *names], *rows]) + "\n")
    loss_curves(table, tmp_path / "losses.png")

    line = curve(pixels(tmp_path / "losses.png"))
    down = [band for band in runs(line.any(axis=1)) if band[1] - band[0] > 40]
    panels = sum(len(runs(line[start:end].any(axis=0))) for start, end in down)
    assert panels == columns


def test_a_run_of_one_epoch_shows_a_point(tmp_path: Path) -> None:
    loss_curves(losses_csv(tmp_path, "epoch,discriminator\n1,1.5\n"), tmp_path / "losses.png")
    line = curve(pixels(tmp_path / "losses.png"))
    assert line.sum() > 20


@pytest.mark.parametrize("text", ["", "epoch,generator\n", "step,generator\n1,2\n", "epoch\n1\n", "epoch,g\n1,often\n"])
def test_a_table_without_losses_is_named_and_leaves_the_old_picture(tmp_path: Path, text: str) -> None:
    picture = tmp_path / "losses.png"
    picture.write_bytes(b"old")
    with pytest.raises(UserError, match=r"losses\.csv .*run `make repro`"):
        loss_curves(losses_csv(tmp_path, text), picture)
    assert picture.read_bytes() == b"old"


def test_a_missing_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"losses\.csv is missing"):
        loss_curves(tmp_path / "losses.csv", tmp_path / "losses.png")
