"""A trained model goes to another clone by `dvc push` and `dvc pull`, and draws there without training."""

import subprocess

from support.dvc_project import BIN, Project


def test_another_clone_pulls_the_artifact_and_draws(built, tmp_path):
    (tmp_path / "first").mkdir()
    first = built.copy(tmp_path / "first")
    first.run("dvc", "remote", "add", "--default", "store", str(tmp_path / "store"))
    first.run("git", "commit", "-aqm", "A store")
    artifact = first.text("dvc.yaml").split("artifacts:")[1].split("path: ")[1].split()[0]
    assert artifact == "models/base"
    first.run("dvc", "push", artifact)
    subprocess.run(["git", "clone", "-q", str(first.folder), str(tmp_path / "second")], check=True)
    second = Project(tmp_path / "second")
    second.run("dvc", "pull", artifact)
    second.run(str(BIN / "textbloom"), "generate", "a pink flower", "--out", "drawn.png")
    assert (second.folder / "drawn.png").read_bytes().startswith(b"\x89PNG")
