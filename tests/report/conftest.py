"""A project whose one stage takes a second: metrics and a picture that follow from a parameter, in Git and DVC."""

import pytest
from support.dvc_project import ROOT, Project

DVC = """
stages:
  train:
    cmd: python train.py
    params: [train.lr]
    deps: [train.py, data.txt]
    outs: [model.txt]
    metrics: [metrics/eval.json: {cache: false}, metrics/train.json: {cache: false}]
    plots: [plots/samples.png: {cache: false}, plots/losses.csv: {cache: false}]
"""
TRAIN = """
import json, pathlib, yaml
from PIL import Image
lr = yaml.safe_load(open("params.yaml"))["train"]["lr"]
for folder in ("metrics", "plots"):
    pathlib.Path(folder).mkdir(exist_ok=True)
score = round(1 - lr, 6)
values = {"frechet_distance": 100 + 1000 * lr, "retrieval_at_10": score, "retrieval_at_10_real": 1.0,
          "extractor": "lite", "seed": 1, "n_fake": 300}
json.dump(values, open("metrics/eval.json", "w"))
json.dump({"steps": 10, "loss_generator": lr}, open("metrics/train.json", "w"))
Image.new("RGB", (8, 8), (int(2550 * lr), 0, 0)).save("plots/samples.png")
pathlib.Path("plots/losses.csv").write_text(f"epoch,discriminator,generator\\n1,1.5,{lr}\\n2,1.25,{lr / 2}\\n")
pathlib.Path("model.txt").write_text(str(lr))
"""
FILES = {
    "params.yaml": "train:\n  lr: 0.01\n  epochs: 2\n",
    "presets/drawn-dcgan-bert.yaml": "train: {lr: 0.01, epochs: 2}\n",
    "presets/drawn-fast.yaml": "train: {lr: 0.5}\n",
    "dvc.yaml": DVC,
    "train.py": TRAIN,
    "data.txt": "pictures",
    ".gitignore": "/model.txt\n/build/\n",
    ".github/tolerances.yaml": "frechet_distance: 10%\nretrieval_at_10: 0.05\n",
}


class Reviewed(Project):
    """The project, and this room's commands run in it."""

    def branch(self, lr: float, build: bool = True) -> None:
        """A branch `faster` with another learning rate, built unless that is forgotten, committed."""
        self.run("git", "checkout", "-q", "-b", "faster")
        params = self.folder / "params.yaml"
        params.write_text(self.text("params.yaml").replace("0.01", str(lr)), encoding="utf-8")
        if build:
            self.run("dvc", "repro", "-q")
        self.commit("another learning rate")

    def report(self, module: str, *arguments: str, succeeds: bool = True, **variables: str) -> str:
        """Run a module of textbloom.report here, with these environment variables and no others of GitHub's."""
        settings = [f"{name}={value}" for name, value in {"PYTHONPATH": f"{ROOT / 'src'}", **variables}.items()]
        unset = ["-u", "GITHUB_REPOSITORY", "-u", "GITHUB_STEP_SUMMARY", "-u", "GITHUB_SERVER_URL"]
        return self.run("env", *unset, *settings, "python", "-m", f"textbloom.report.{module}", *arguments,
                        succeeds=succeeds)  # fmt: skip


@pytest.fixture(scope="session")
def built_once(tmp_path_factory) -> Reviewed:
    project = Reviewed(tmp_path_factory.mktemp("reviewed"))
    for name, text in FILES.items():
        path = project.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    project.run("git", "init", "-q", "-b", "main")
    project.run("dvc", "init", "-q")
    project.run("dvc", "repro", "-q")
    project.commit("first results")
    return project


@pytest.fixture
def project(built_once, tmp_path) -> Reviewed:
    """Built and committed on `main`; a test's own copy."""
    return Reviewed(built_once.copy(tmp_path / "project").folder)
