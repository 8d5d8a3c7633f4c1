"""What is taken away draws the same pictures without textbloom, whatever the system, and its card says what it is."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from huggingface_hub import ModelCard
from PIL import Image
from support.dvc_project import ROOT

from textbloom import config, models
from textbloom.app import cli, export
from textbloom.app.models import OWN, open_model
from textbloom.core.tensors import load_tensors
from textbloom.sampling.generator import TrainedGenerator, load_generator
from textbloom.text import hub

SMALL = {
    "size": 64, "embedding_dim": 12, "noise_dim": 5, "features": 4, "text_projection": 4, "discriminator_text": True,
}  # fmt: skip


@pytest.mark.parametrize("name", ["dcgan", "textbloom", "second stage"])
def test_onnx_draws_what_torch_draws_for_any_number_of_pictures(tmp_path, name):
    torch.manual_seed(0)
    network, _ = models.build(name="stackgan" if name == "second stage" else name, **SMALL)
    if name == "second stage":
        network, _ = models.refine(network, name="stackgan", **{**SMALL, "size": 128})
    trained = TrainedGenerator(network.eval(), {"network": SMALL}, torch.device("cpu"))
    export._write_onnx(trained, tmp_path / "generator.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "generator.onnx")
    for count in (1, 3):
        noise, text = torch.randn(count, network.noise_dim), torch.randn(count, 12)
        [drawn] = session.run(None, {"noise": noise.numpy(), "text": text.numpy()})
        with torch.inference_mode():
            assert np.abs(drawn - network(noise, text).numpy()).max() < 1e-4


@pytest.mark.parametrize("name", [OWN, "drawn-textbloom"], ids=["bilinear pooling", "the encoder's own vector"])
def test_the_example_draws_alone_and_the_card_says_what_it_is(project, monkeypatch, name):
    monkeypatch.chdir(project)
    shutil.copytree(ROOT / "shipped", project / "shipped")
    cli.main(["export", "taken", "--model", name])
    taken = Path("taken")
    folder, _ = hub.obtain(hub.ENCODERS["all-MiniLM-L6-v2"], "hub")
    done = subprocess.run(
        [sys.executable, "example.py", "a pink flower", str(folder)],
        cwd=taken, env={**os.environ, "PYTHONPATH": ""}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "textbloom" not in (taken / "example.py").read_text()
    model = open_model(name)
    text = model.embeddings(["a pink flower"]).expand(8, -1)
    noise = torch.from_numpy(np.random.default_rng(0).standard_normal((8, model.generator.noise_dim), np.float32))
    expected = np.concatenate(list(model.generator.sample(text, noise).permute(0, 2, 3, 1).numpy()), axis=1)
    assert np.abs(np.array(Image.open(taken / "pictures.png")).astype(int) - expected).max() <= 1
    assert load_tensors(taken / "generator.safetensors").keys() == model.generator.network.state_dict().keys()
    card = ModelCard.load(taken / "README.md")
    assert card.data.pipeline_tag == "text-to-image"
    assert model.generator.config["encoder"]["sha256"] in card.text and "drawn" in card.text


def test_the_card_of_a_shipped_model_has_its_measures(monkeypatch):
    monkeypatch.chdir(ROOT)
    name = "flowers102-textbloom"
    card = export._card(name, "flowers102", load_generator(config.SHIPPED / name, "ema"), example=True)
    assert "| frechet_distance | 0.2852 |" in card.text
    assert "Use the weights for research and teaching." in card.text


def test_a_folder_of_something_else_is_not_replaced(project):
    Path("mine").mkdir()
    with pytest.raises(SystemExit, match="mine holds something else"):
        cli.main(["export", "mine"])
    assert Path("mine").is_dir()
