"""The sample stage in a tiny project: what it writes, from what, and how it refuses."""

import os
import re
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

from textbloom import config, models
from textbloom.core.tensors import save_tensors
from textbloom.core.trained_folder import save_networks

ROOT = Path(__file__).parents[2]
STAGE = ROOT / "stages" / "sample.py"
SHEETS = [
    "interpolation_captions",
    "interpolation_noise",
    "losses",
    "memorisation",
    "nearest_training",
    "progress",
    "real_beside_generated",
    "samples",
]
FROM_EARLIER = ["losses", "memorisation", "progress"]  # what earlier stages logged, whatever this one chooses
EMBEDDING_DIM = 6
OVERRIDES = ["sample.rows=2", "sample.columns=3", "model.features=2", "model.noise_dim=5", "model.text_projection=4"]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Prepared data of 20 pictures, 5 of them held out, and an untrained tiny generator with other averaged weights."""
    (tmp_path / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    config.apply(None, OVERRIDES, tmp_path / "params.yaml")
    data = tmp_path / "data"
    data.mkdir()
    rows = [f"{i},{i % 4},{'test' if i > 15 else 'val' if i > 12 else 'train'},0,flower {i}" for i in range(1, 21)]
    (data / "captions.csv").write_text("\n".join(["image_id,class_id,split,caption_index,caption", *rows, ""]))
    (data / "image_ids.csv").write_text("\n".join(["image_id", *map(str, range(1, 21)), ""]))
    save_tensors(data / "images.safetensors", {"images": torch.randint(0, 256, (20, 3, 64, 64), dtype=torch.uint8)})
    save_tensors(data / "embeddings.safetensors", {"embeddings": torch.randn(20, EMBEDDING_DIM)})
    base = tmp_path / "models" / "base"
    base.mkdir(parents=True)
    (tmp_path / "plots").mkdir()
    (tmp_path / config.MEMORISATION).write_text("quantile,generated,real\n0,1,2\n0.5,2,3\n1,4,5\n")
    (base / "losses.csv").write_text("epoch,discriminator,generator\n1,1.5,9\n2,1.25,8\n")

    network = {
        "name": "dcgan",
        "size": 64,
        "embedding_dim": EMBEDDING_DIM,
        "noise_dim": 5,
        "features": 2,
        "text_projection": 4,
        "discriminator_text": True,
    }
    generator, discriminator = models.build(**network)  # type: ignore[arg-type]
    averaged, _ = models.build(**network)  # type: ignore[arg-type]
    save_networks(
        base, generator, averaged, discriminator, {"network": network, "encoder": {"name": "any", "sha256": "0" * 64}}
    )
    pictures = torch.randint(0, 256, (2, 3, 3, 64, 64), dtype=torch.uint8)
    notes = {"epochs": [1, 2], "captions": ["flower 1", "flower 2", "flower 3"]}
    save_tensors(base / "progress.safetensors", {"pictures": pictures}, notes)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run() -> None:
    """Run the stage's script in the current folder."""
    runpy.run_path(str(STAGE), run_name="__main__")


def sheets(project: Path) -> dict[str, bytes]:
    return {path.stem: path.read_bytes() for path in sorted((project / "plots").glob("*.png"))}


def test_the_stage_writes_every_sheet_and_the_same_bytes_again(project: Path) -> None:
    run()
    first = sheets(project)
    assert sorted(first) == SHEETS
    for path in (project / "plots").glob("*.png"):
        with Image.open(path) as image:
            image.load()
    assert [path.name for path in (project / "plots").iterdir() if path.suffix != ".png"] == [config.MEMORISATION.name]

    run()
    assert sheets(project) == first


def test_the_sheets_follow_the_seed_and_the_chosen_weights(project: Path) -> None:
    run()
    first = sheets(project)
    config.apply(None, ["evaluate.generator=raw"], project / "params.yaml")
    run()
    raw = sheets(project)
    config.apply(None, ["seed=2"], project / "params.yaml")
    run()
    reseeded = sheets(project)
    for name in SHEETS:
        assert (raw[name] == first[name]) == (name in FROM_EARLIER), name
        assert (reseeded[name] == raw[name]) == (name in FROM_EARLIER), name


def test_where_nothing_was_held_out_the_sheets_show_other_captions(project: Path) -> None:
    run()
    first = sheets(project)
    table = project / "data" / "captions.csv"
    table.write_text(table.read_text().replace(",test,", ",train,"))
    run()
    for name, sheet in sheets(project).items():
        assert (sheet == first[name]) == (name in FROM_EARLIER), name


def lose_the_generator(project: Path) -> None:
    (project / "models" / "base" / "generator-ema.safetensors").unlink()


def keep_no_training_picture(project: Path) -> None:
    table = project / "data" / "captions.csv"
    table.write_text(table.read_text().replace(",train,", ",test,").replace(",val,", ",test,"))


def lose_the_losses(project: Path) -> None:
    (project / "models" / "base" / "losses.csv").unlink()


@pytest.mark.parametrize(
    ("break_it", "named"),
    [
        (lose_the_generator, "models/base/generator-ema.safetensors is missing"),
        (keep_no_training_picture, "data/captions.csv has no image of split train or val"),
        (lose_the_losses, "models/base/losses.csv is missing"),
    ],
)
def test_what_is_missing_is_named(project: Path, break_it: Callable[[Path], None], named: str) -> None:
    break_it(project)
    with pytest.raises(SystemExit, match=f"^error: {re.escape(named)}"):
        run()


def test_a_failure_is_one_line_and_a_non_zero_exit_that_leaves_earlier_sheets(project: Path) -> None:
    lose_the_generator(project)
    (project / "plots" / "samples.png").write_bytes(b"earlier")
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    result = subprocess.run([sys.executable, STAGE], env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert result.stderr.startswith("error: models/base/generator-ema.safetensors is missing")
    assert len(result.stderr.splitlines()) == 1
    assert sheets(project) == {"samples": b"earlier"}
