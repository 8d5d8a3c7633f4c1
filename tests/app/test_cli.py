"""The console script: sentences to a picture file, and one line for what it cannot do."""

import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from textbloom.app import cli
from textbloom.app.generate import sentences
from textbloom.app.models import OWN, SHIPPED, open_model
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
    Path("docs/folder/example").mkdir(parents=True)
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
    default, *others = (np.array(Image.open(name)) for name in ("default.png", "named.png", "folder.png"))
    assert all((other == default).all() for other in others)


def test_what_a_project_has_trained_comes_before_what_was_shipped(project):
    shutil.copytree(ROOT / "shipped", project / "shipped")
    cli.main(["generate", "a yellow flower", "--out", "own.png"])
    cli.main(["generate", "a yellow flower", "--out", "shipped.png", "--model", SHIPPED])
    assert not np.array_equal(np.array(Image.open("own.png")), np.array(Image.open("shipped.png")))


def test_a_model_that_is_not_there_is_one_line(project):
    assert "no model or folder 'nowhere'" in refusal("generate", "a rose", "--out", "a.png", "--model", "nowhere")
    Path("untrained").mkdir()
    assert "config.json is missing" in refusal("generate", "a rose", "--out", "a.png", "--model", "untrained")


def test_a_shipped_model_sees_its_colour_in_the_caption():
    folder = ROOT / "shipped" / SHIPPED
    model = TextToImage(folder, pretrained.load("all-MiniLM-L6-v2"))
    red, yellow = model.pictures(["a red flower", "a yellow flower"], seed=0, count=8).float().split(8)
    # Yellow is red and green together: the middle of the picture shows it.
    green_by_red = [
        (each[:, 1, 16:48, 16:48].mean() / each[:, 0, 16:48, 16:48].mean()).item() for each in (red, yellow)
    ]
    assert green_by_red[0] < 0.6 < green_by_red[1]


def test_a_file_of_sentences_becomes_single_pictures_that_say_how_they_were_made(project):
    Path("sentences.txt").write_text("a pink flower\n\n  a blue one\n", encoding="utf-8")
    cli.main(["generate", "--file", "sentences.txt", "--out", "made", "--count", "2", "--seed", "3", "--device", "cpu"])
    assert sorted(path.name for path in Path("made").iterdir()) == [f"000{n}-{m}.png" for n in (1, 2) for m in (1, 2)]
    expected = open_model(OWN).pictures(["a pink flower", "a blue one"], seed=3, count=2)
    with Image.open("made/0002-1.png") as picture:
        assert picture.text["Description"] == "a blue one"
        assert json.loads(picture.text["Comment"])["number"] == 2
        assert torch.equal(torch.from_numpy(np.array(picture)).permute(2, 0, 1), expected[2])


def test_sentences_are_read_as_captions_are_in_utf16_of_powershell_too(tmp_path):
    (tmp_path / "sentences.txt").write_bytes("a rose\u0301 flower\r\n\u200b\r\na  blue one\r\n".encode("utf-16"))
    expected = ["the first", "a ros\u00e9 flower", "a blue one"]
    assert sentences([" the\u00a0first"], str(tmp_path / "sentences.txt")) == expected


def test_sentences_come_from_standard_input_too(project, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO("a rosé flower\n".encode())))
    cli.main(["generate", "--file", "-", "--out", "piped.png"])
    with Image.open("piped.png") as picture:
        assert picture.text["Description"] == "a rosé flower"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--out", "a.png"], "say what to draw"),
        (["--file", "nowhere.txt", "--out", "a.png"], "nowhere.txt: No such file or directory"),
        (["--file", "latin.txt", "--out", "a.png"], "latin.txt: line 1: byte 0xe9 is not UTF-8"),
        (["--file", "empty.txt", "--out", "a.png"], "empty.txt holds no sentence"),
        (["a flower\udcff", "--out", "a.png"], "a sentence is not UTF-8"),
        (["a flower", "--out", "params.yaml/a.png"], "name a folder that can be written to"),
        (["a flower", "--out", "a.png", "--count", "2000"], "more than the 1000 of one sheet"),
        (["a flower", "--out", "many", "--count", "200000000000000000000"], "more than the 100,000 of one call"),
        (["a flower", "--out", "folder.png"], "folder.png is a folder: name a file"),
        (["a flower", "--out", "a.png", "--model", "rosa"], "no model or folder 'rosa'; there are: "),
    ],
)
def test_what_generate_cannot_read_or_write_is_one_line(project, arguments, said):
    Path("latin.txt").write_bytes(b"ros\xe9\n")
    Path("empty.txt").write_text("\n")
    Path("folder.png").mkdir()
    assert said in refusal("generate", *arguments)


def test_presets_are_listed_with_what_they_are(project, capsys):
    shutil.copytree(ROOT / "presets", "presets")
    cli.main(["presets"])
    listed = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in listed] == sorted(path.stem for path in Path("presets").iterdir())
    assert all(len(line.split()) > 3 for line in listed)
    Path("presets/empty.yaml").touch()
    cli.main(["presets"])
    assert "empty" in [line.strip() for line in capsys.readouterr().out.splitlines()]


def test_doctor_names_what_is_there_and_what_is_wrong_with_the_mend(project, capsys):
    shutil.copy(ROOT / "requirements.lock", ".")
    cli.main(["doctor"])
    said = capsys.readouterr().out
    assert "✓ packages as in requirements.lock" in said and "models that draw: this project" in said
    assert "pictures: not yet there; `make repro` prepares them" in said
    Path("requirements.lock").write_text("torch==0.1 \\\n")
    Path("params.yaml").write_text("seed: 1\n")
    assert "✗" in refusal("doctor")
    said = capsys.readouterr().out
    assert "✗ torch: not the versions of requirements.lock: run `make setup`" in said
    assert "✗ params.yaml: portable: missing" in said
