"""Systems side by side: one set of captions and noise, judged in one text space, none asked for what it trained on."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from PIL import Image
from support import prepared_project
from support.prepared_project import Coarse, flat_pictures
from torch_fidelity.registry import FEATURE_EXTRACTORS_REGISTRY

from textbloom import config
from textbloom.app import cli, compare
from textbloom.core.errors import UserError
from textbloom.core.tensors import load_tensors, save_tensors
from textbloom.viz.samples import Examples


@pytest.fixture
def projects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder `own`, and beside it `other`, equal but for a generator with more noise and longer texts."""
    prepared_project.quick(monkeypatch)
    monkeypatch.setitem(FEATURE_EXTRACTORS_REGISTRY, "coarse", Coarse)
    for name in ("own", "other"):
        torch.manual_seed(0)
        prepared_project.write(tmp_path / name)
        prepared_project.write_real_features(tmp_path / name)
    prepared_project.write_generator(tmp_path / "other", noise_dim=9, embedding_dim=20)
    other = tmp_path / "other" / config.EMBEDDINGS
    save_tensors(other, {"embeddings": torch.randn(250, 20)}, {"encoder": prepared_project.ENCODER})
    monkeypatch.chdir(tmp_path / "own")
    return tmp_path


def opened(name: str, folder: str = ".") -> compare.System:
    return compare.open_system(name, Path(folder))


def test_the_command_leaves_a_picture_and_the_measures_of_each_system(projects):
    cli.main(["compare", "A=.", "again=.", "B=../other", "--out", "../out", "--rows", "3"])
    with Image.open("../out/comparison.png") as sheet:
        sheet.load()
    found = json.loads(Path("../out/comparison.json").read_text())["systems"]
    assert list(found) == ["A", "B", "again"]
    assert found["A"] == found["again"]
    # What does not depend on the generator is the same for all: the ceiling is judged in this project's text space.
    for key in ("retrieval_at_10_real", "retrieval_at_1_real", "floor", "n_fake", "n_real"):
        assert found["A"][key] == found["B"][key]
    assert found["A"]["frechet_distance"] != found["B"]["frechet_distance"]


def test_a_system_that_paints_the_real_pictures_is_perfect_beside_one_that_does_not(projects, monkeypatch):
    real, untrained = opened("real"), opened("untrained")

    def pictures(self, captions, noise, size):
        vectors = torch.stack([self.embeddings[caption] for caption in captions])
        return flat_pictures(vectors) if self.name == "real" else self.generator.sample(vectors, noise[:, :5])

    monkeypatch.setattr(compare.System, "pictures", pictures)
    found = compare.measure([real, untrained], prepared_project.evaluator(110), 1)["systems"]
    assert found["real"]["frechet_distance"] == pytest.approx(0, abs=1e-4)
    assert found["untrained"]["frechet_distance"] > found["real"]["floor"]
    assert found["real"]["retrieval_at_10"] == found["real"]["retrieval_at_10_real"] > 0.9


def test_each_system_takes_its_part_of_the_same_noise(projects):
    first, noise = opened("first"), torch.randn(2, 9)
    captions = ["flower 200", "flower 201"]
    vectors = load_tensors(config.EMBEDDINGS)["embeddings"][200:202]
    assert torch.equal(first.pictures(captions, noise, 64), first.generator.sample(vectors, noise[:, :5]))


def test_smaller_pictures_are_enlarged_to_the_size_of_the_largest_and_keep_their_colours(projects):
    prepared_project.write_generator(projects / "other", noise_dim=9, embedding_dim=20, size=128)
    small, large = opened("small"), opened("large", "../other")
    side = compare.side([small, large])
    noise, captions = torch.randn(2, 9), ["flower 200", "flower 201"]
    drawn = small.pictures(captions, noise, side)
    assert drawn.shape == large.pictures(captions, noise, side).shape == (2, 3, 128, 128)
    means = [pictures.float().mean((2, 3)) for pictures in (drawn, small.pictures(captions, noise, 64))]
    torch.testing.assert_close(*means, atol=0.5, rtol=0)
    shown = Examples(captions, torch.zeros(2, 12), drawn)
    assert compare.sheet([small, large], shown, 1).rows[0].pictures.shape == (3, 3, 128, 128)


def test_a_trained_folder_of_a_project_is_compared_by_itself(projects):
    shutil.copytree("models/base", "models/refined")
    prepared_project.write_generator(projects / "own", noise_dim=7)
    first, second = opened("base", "../own/models/base"), opened("refined", "../own/models/refined")
    assert (first.generator.noise_dim, second.generator.noise_dim, opened("as set").generator.noise_dim) == (7, 5, 7)


def test_a_project_may_lie_in_a_folder_of_the_name_models(projects):
    shutil.copytree(projects / "other", projects / "models" / "other")
    assert opened("other", "../models/other").generator.noise_dim == 9


def test_larger_pictures_than_the_real_ones_here_are_refused(projects):
    prepared_project.write_generator(projects / "other", noise_dim=9, embedding_dim=20, size=128)
    with pytest.raises(SystemExit, match="have 64 pixels here and some generated ones 128: run this in the project of"):
        cli.main(["compare", "A=.", "B=../other", "--out", "../out"])


class Brightness:
    """Stands for an evaluator of two captions that measures how bright pictures are."""

    captions = ("flower 200", "flower 201")

    def measure(self, make, trained):
        bright = float(make(torch.arange(2), 0).float().mean() - 127)  # mid-grey, as untrained generators paint
        return SimpleNamespace(metrics={"brightness": bright, "n_fake": 2})


def test_systems_of_one_name_are_seeds_of_one_and_give_its_mean_and_spread(projects):
    both = [opened("ours"), opened("ours", "../other")]
    found = compare.measure([*both, opened("first"), opened("second", "../other")], Brightness(), 1)
    assert found["runs"] == {"ours": 2, "first": 1, "second": 1} and list(found["spread"]) == ["ours"]
    ours, first, second = (found["systems"][name]["brightness"] for name in ("ours", "first", "second"))
    assert ours == pytest.approx((first + second) / 2, rel=1e-4) and first != second
    assert found["spread"]["ours"]["brightness"] == pytest.approx(abs(first - second) / 2**0.5, rel=1e-3)
    assert found["systems"]["ours"]["n_fake"] == 2 and "n_fake" not in found["spread"]["ours"]


def test_a_system_is_not_asked_for_captions_that_it_trained_on(projects):
    own = opened("own")
    table = projects / "other" / config.CAPTIONS
    table.write_text(table.read_text().replace(",test,0,flower 200\n", ",train,0,flower 200\n"))
    other = opened("other", "../other")
    assert "flower 200" in own.embeddings and "flower 200" not in other.embeddings
    with pytest.raises(UserError, match=r"other: its data/captions\.csv has no held-out caption 'flower 200'"):
        other.pictures(["flower 200"], torch.randn(1, 9), 64)


def test_embeddings_of_another_encoder_are_refused(projects):
    embeddings = load_tensors(config.EMBEDDINGS)
    save_tensors(config.EMBEDDINGS, embeddings, {"encoder": {"name": "any", "sha256": "1" * 64}})
    with pytest.raises(UserError, match=r"A: data/embeddings\.safetensors is of another encoder than its generator"):
        opened("A")


@pytest.mark.parametrize(
    ("systems", "message"),
    [
        (["A=nowhere"], r"systems: expected NAME=PROJECT, the folder of a trained project, got 'A=nowhere'"),
        (["."], r"systems: expected NAME=PROJECT, .*, got '\.'"),
    ],
)
def test_what_cannot_be_compared_is_refused_in_one_line(projects, systems, message):
    with pytest.raises(SystemExit, match=message) as stopped:
        cli.main(["compare", *systems, "--out", "../out"])
    assert "\n" not in str(stopped.value)
    assert not (projects / "out").exists()
