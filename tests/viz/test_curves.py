"""Loss curves: a panel for every term that a run logged."""

from pathlib import Path

import matplotlib
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from textbloom.core.errors import UserError
from textbloom.viz.curves import distance_curves, loss_curves


def curve(path: Path) -> np.ndarray:
    """Where a picture has the colour of a loss curve, bool [height, width]."""
    with Image.open(path) as image:
        page = np.asarray(image.convert("RGB")).astype(int)
    return np.asarray(np.all(np.abs(page - (0x7A, 0x3B, 0x8F)) < 8, axis=2))


def runs(mask: npt.ArrayLike) -> list[tuple[int, int]]:
    """The half-open intervals in which a boolean vector is true."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], np.asarray(mask, dtype=int), [0]])))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def losses_csv(folder: Path, text: str) -> Path:
    path = folder / "losses.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_loss_curves_do_not_depend_on_the_machines_matplotlib_settings(tmp_path: Path) -> None:
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

    line = curve(tmp_path / "losses.png")
    down = [band for band in runs(line.any(axis=1)) if band[1] - band[0] > 40]
    panels = sum(len(runs(line[start:end].any(axis=0))) for start, end in down)
    assert panels == columns


def test_a_run_of_one_epoch_shows_a_point(tmp_path: Path) -> None:
    loss_curves(losses_csv(tmp_path, "epoch,discriminator\n1,1.5\n"), tmp_path / "losses.png")
    line = curve(tmp_path / "losses.png")
    assert line.sum() > 20


@pytest.mark.parametrize("text", ["", "epoch,generator\n", "step,generator\n1,2\n", "epoch\n1\n", "epoch,g\n1,often\n"])
def test_a_table_without_losses_is_named_and_leaves_the_old_picture(tmp_path: Path, text: str) -> None:
    picture = tmp_path / "losses.png"
    picture.write_bytes(b"old")
    with pytest.raises(UserError, match=r"losses\.csv .*run `make repro`"):
        loss_curves(losses_csv(tmp_path, text), picture)
    assert picture.read_bytes() == b"old"


def test_the_curve_of_a_copier_lies_left_of_that_of_real_pictures(tmp_path: Path) -> None:
    table = tmp_path / "memorisation.csv"
    for name, generated in (("copier", "0.1,0.2,0.3"), ("other", "2.7,2.8,2.9")):
        rows = zip(("0", "0.5", "1"), generated.split(","), ("1", "2", "3"), strict=True)
        table.write_text("quantile,generated,real\n" + "".join(",".join(row) + "\n" for row in rows))
        distance_curves(table, tmp_path / f"{name}.png")
    left, right = (np.argwhere(curve(tmp_path / f"{name}.png")[:200])[:, 1].min() for name in ("copier", "other"))
    assert left < right
    table.write_text("quantile,generated\n0,1\n")
    with pytest.raises(UserError, match=r"memorisation\.csv holds no distances by quantile"):
        distance_curves(table, tmp_path / "copier.png")


def test_a_missing_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"losses\.csv is missing"):
        loss_curves(tmp_path / "losses.csv", tmp_path / "losses.png")
