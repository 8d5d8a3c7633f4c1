"""Which models draw here: a DVC experiment's is opened from DVC's cache, under the experiment's name."""

import shutil

import pytest
import torch
from support.dvc_project import ROOT, Project
from support.prepared_project import NETWORK

from textbloom import config
from textbloom.app import models
from textbloom.core.errors import UserError
from textbloom.core.trained_folder import save_networks
from textbloom.models import build
from textbloom.sampling.text_to_image import TextToImage
from textbloom.text import bag_of_ngrams, pretrained, trained_encoder

PIPELINE = """
stages:
  train:
    cmd: mkdir -p models && cp -r trained-{seed} models/base
    params: [seed]
    deps: [trained-1, trained-2]
    outs: [models/base]
"""


@pytest.fixture
def experiments(project) -> Project:
    """A project whose stage takes one of two trained folders by the seed, and an experiment `other` with the second."""
    for seed in (1, 2):
        shutil.copytree(project / "models/base", project / f"trained-{seed}")
    shutil.copy(project / "trained-2/generator.safetensors", project / "trained-2/generator-ema.safetensors")
    shutil.rmtree(project / "models")
    (project / "dvc.yaml").write_text(PIPELINE.replace("{seed}", "${seed}"))
    (project / ".gitignore").write_text("/models\n")
    made = Project(project)
    made.run("git", "init", "-q", "-b", "main")
    made.run("dvc", "init", "-q")
    made.run("dvc", "repro", "-q")
    made.commit("trained")
    made.run("dvc", "exp", "run", "-q", "--temp", "--name", "other", "-S", "seed=2")
    return made


def test_an_experiments_model_draws_its_own_pictures_and_the_projects_stays(experiments):
    assert models.names()[0] == models.OWN and models.names()[-1] == "other"
    own, other = (models.open_model(name).pictures(["a pink flower"], seed=0) for name in (models.OWN, "other"))
    assert not torch.equal(own, other)


def test_an_experiment_that_is_no_longer_in_the_cache_is_one_line(experiments):
    shutil.rmtree(experiments.folder / ".dvc/cache")
    with pytest.raises(UserError, match="other: the experiment's model is not in DVC's cache: run `dvc exp run`"):
        models.open_model("other")


def test_an_encoder_whose_words_are_pooled_otherwise_is_refused(project):
    with pytest.raises(UserError, match=r"was trained with all-MiniLM-L6-v2 of other encoder\.bilinear_layers"):
        TextToImage(config.BASE, pretrained.load("all-MiniLM-L6-v2"))


def test_a_model_opens_by_its_folder_with_the_text_encoder_that_was_trained_here(tmp_path, monkeypatch):
    shutil.copy(ROOT / "params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    words = bag_of_ngrams.BagOfNgrams(["a", "red", "flower"])
    encoder = trained_encoder.save(config.TEXT_ENCODER, "bag-of-ngrams", words, {})
    network = NETWORK | {"embedding_dim": bag_of_ngrams.EMBEDDING_DIM}
    generator, discriminator = build(**network)
    save_networks(config.BASE, generator, generator, discriminator, {"network": network, "encoder": encoder.metadata})
    assert models.open_model("models/base").pictures(["a red flower"], seed=0).shape == (1, 3, 64, 64)
