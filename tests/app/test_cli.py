"""The console script: sentences to a picture file, and one line for what it cannot do."""

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

from textbloom.app import cli
from textbloom.app.models import SHIPPED
from textbloom.sampling.text_to_image import TextToImage
from textbloom.text import pretrained

ROOT = Path(__file__).parents[2]


def refusal(*arguments: str) -> str:
    with pytest.raises(SystemExit) as stopped:
        cli.main(arguments)
    return str(stopped.value)


def test_sentences_become_a_picture_file_the_same_for_a_seed(project):
    for name, seed in (("a.png", "1"), ("b.png", "1"), ("c.png", "2")):
        cli.main(["generate", "a pink flower", "a blue one", "--out", name, "--seed", seed])
    with Image.open("a.png") as picture:
        picture.load()
        assert picture.width > 4 * 64
        assert picture.text["Description"] == "a pink flower\na blue one"
        assert json.loads(picture.text["Comment"]) == {"count": 4, "model": "this project", "seed": 1}
    first, again, other = (Path(name).read_bytes() for name in ("a.png", "b.png", "c.png"))
    assert first == again != other


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["a pink flower", "--out", "a.jpg"], "--out: expected a name that ends in .png"),
        (["  ", "--out", "a.png"], "an empty sentence"),
        (["a pink flower", "--out", "a.png", "--count", "0"], "--count: expected at least 1"),
    ],
)
def test_what_cannot_be_drawn_is_one_line(project, arguments, said):
    assert said in refusal("generate", *arguments)


def test_params_checks_and_changes_the_file(project):
    cli.main(["params", "--set", "train.epochs=3", "data.limit=200"])
    assert "epochs: 3 " in Path("params.yaml").read_text()
    assert "train.epochs: expected" in refusal("params", "--set", "train.epochs=none")
    Path("params.yaml").write_text("seed: 1\n")
    assert "portable: missing" in refusal("params")


def test_a_project_that_has_trained_nothing_draws_with_the_shipped_model(tmp_path, monkeypatch):
    shutil.copy(ROOT / "params.yaml", tmp_path)
    shutil.copytree(ROOT / "shipped", tmp_path / "shipped")
    monkeypatch.chdir(tmp_path)
    cli.main(["generate", "a yellow flower", "--count", "2", "--out", "default.png"])
    cli.main(["generate", "a yellow flower", "--count", "2", "--out", "named.png", "--model", SHIPPED])
    folder = f"shipped/{SHIPPED}"
    cli.main(["generate", "a yellow flower", "--count", "2", "--out", "folder.png", "--model", folder])
    default, *others = (Path(name).read_bytes() for name in ("default.png", "named.png", "folder.png"))
    assert others == [default, default]


def test_what_a_project_has_trained_comes_before_what_was_shipped(project):
    shutil.copytree(ROOT / "shipped", project / "shipped")
    cli.main(["generate", "a yellow flower", "--out", "own.png"])
    cli.main(["generate", "a yellow flower", "--out", "shipped.png", "--model", SHIPPED])
    assert Path("own.png").read_bytes() != Path("shipped.png").read_bytes()


def test_a_model_that_is_not_there_is_one_line(project):
    assert "config.json is missing" in refusal("generate", "a rose", "--out", "a.png", "--model", "nowhere")


def test_a_shipped_model_sees_its_colour_in_the_caption():
    folder = ROOT / "shipped" / SHIPPED
    model = TextToImage(folder, pretrained.load("all-MiniLM-L6-v2"))
    red, yellow = model.pictures(["a red flower", "a yellow flower"], seed=0, count=8).float().split(8)
    # Yellow is red and green together: the middle of the picture shows it.
    green_by_red = [
        (each[:, 1, 16:48, 16:48].mean() / each[:, 0, 16:48, 16:48].mean()).item() for each in (red, yellow)
    ]
    assert green_by_red[0] < 0.6 < green_by_red[1]
