"""Settings and results belong together: nothing is recorded, or stays, that is not of the run it seems to be of."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
import yaml
from support.dvc_project import ROOT, environment, ran

from textbloom import config
from textbloom.app import pipeline
from textbloom.core.errors import UserError

LR = config.load(ROOT / config.PARAMS).train.lr
# A pipeline of three stages that takes as long as a file says; the first stage reads seed and train.lr alone.
PIPELINE = """
stages:
  train: {cmd: python slow.py train data/made, params: [seed, train.lr], deps: [slow.py], outs: [data/made]}
  evaluate:
    cmd: python slow.py evaluate metrics/eval.json
    params: [evaluate.samples]
    deps: [data/made]
    metrics: [{metrics/eval.json: {cache: false}}]
  sample:
    cmd: python slow.py sample plots/samples.png
    deps: [metrics/eval.json]
    plots: [{plots/samples.png: {cache: false}}]
"""
STAGE = """
import sys, time
from pathlib import Path
from textbloom import config
from textbloom.core.errors import UserError

def main(p):
    Path("begun").touch()
    while Path("slow").exists():
        time.sleep(0.01)
    if Path("broken").exists() and sys.argv[1] == "evaluate":
        raise UserError("evaluate is broken")
    made = Path(sys.argv[2])
    made.parent.mkdir(exist_ok=True)
    made.write_text(f"{sys.argv[1]} of seed {p.seed}, lr {p.train.lr}")

config.run(main)
"""


class Folder:
    """A project in which `make` and `dvc` run."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def start(self, *command: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            command,
            cwd=self.path,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, *command: str, fails: bool = False) -> str:
        running = self.start(*command)
        said = running.communicate()[0]
        assert (running.returncode != 0) == fails, said
        return said

    def make(self, *arguments: str, fails: bool = False) -> str:
        return self.run("make", "-s", "-o", "setup", *arguments, fails=fails)

    def slow(self, *command: str) -> "subprocess.Popen[str]":
        """Start, and wait until a stage has begun that goes on until `finish`."""
        (self.path / "begun").unlink(missing_ok=True)
        (self.path / "slow").touch()
        running = self.start(*command)
        while not (self.path / "begun").exists():
            assert running.poll() is None, running.communicate()[0]
            time.sleep(0.01)
        return running

    def finish(self, running: "subprocess.Popen[str]") -> str:
        (self.path / "slow").unlink()
        return running.communicate()[0]

    def recorded(self, stage: str) -> dict:
        return yaml.safe_load(self.text("dvc.lock"))["stages"].get(stage, {}).get("params", {}).get("params.yaml")

    def text(self, name: str) -> str:
        return (self.path / name).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def started(tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("started")
    for name in ("Makefile", "params.yaml"):
        shutil.copy(ROOT / name, place)
    shutil.copytree(ROOT / "presets", place / "presets")
    (place / "src").symlink_to(ROOT / "src")
    shutil.copytree(ROOT / "docs/folder/example", place / "docs/folder/example")
    (place / "dvc.yaml").write_text(PIPELINE)
    (place / "slow.py").write_text(STAGE)
    (place / ".gitignore").write_text("/data\n/begun\n/slow\n/broken\n")
    (place / ".dvcignore").write_text("src\n")
    project = Folder(place)
    project.run("git", "init", "-q", "-b", "main")
    project.run("dvc", "init", "-q")
    project.run("git", "add", "-A")
    project.run("git", "commit", "-qm", "start")
    return place


@pytest.fixture
def folder(started, tmp_path) -> Folder:
    shutil.copytree(started, tmp_path, symlinks=True, dirs_exist_ok=True)
    return Folder(tmp_path)


MAKE = ("make", "-s", "-o", "setup", "repro")


def test_settings_are_not_written_while_a_pipeline_runs_with_others(folder):
    running = folder.slow(*MAKE)
    before = folder.text("params.yaml")
    for command in ([*MAKE, "SET=seed=2 train.lr=0.002"], ["textbloom", "params", "--set", "seed=2"]):
        assert "runs the pipeline" in folder.run(*command, fails=True)
        assert folder.text("params.yaml") == before
    folder.finish(running)
    assert running.returncode == 0
    assert folder.recorded("train") == {"seed": 1, "train.lr": LR}
    folder.make("repro", "SET=seed=2")
    assert folder.text("data/made") == f"train of seed 2, lr {LR}"


def test_a_stage_alone_keeps_its_settings_too(folder):
    running = folder.slow("dvc", "repro")
    assert "runs the pipeline" in folder.run("textbloom", "params", "--set", "seed=2", fails=True)
    folder.finish(running)
    assert running.returncode == 0


@pytest.mark.parametrize(
    ("key", "old", "new", "fails"),
    [
        ("seed", "seed: 1 ", "seed: 2 ", True),
        ("train.lr", f"lr: {LR}", "lr: 0.002", True),
        ("", "rows: 4", "rows: 3", False),
    ],
)
def test_what_an_editor_writes_meanwhile_is_never_recorded_for_it(folder, key, old, new, fails):
    running = folder.slow("dvc", "repro", "train")
    text = folder.text("params.yaml")
    (folder.path / "params.yaml").write_text(text.replace(old, new))
    said = folder.finish(running)
    assert (running.returncode != 0) == fails
    if fails:
        (error,) = [line for line in said.splitlines() if line.startswith("error:")]
        assert f"params.yaml: {key} was changed while this stage ran" in error
        assert not (folder.path / "dvc.lock").exists()
        (folder.path / "params.yaml").write_text(text)
        assert ran(folder.run("dvc", "repro", "train")) == ["train"]
    assert folder.recorded("train") == {"seed": 1, "train.lr": LR}


def test_what_is_of_an_earlier_model_does_not_stay_beside_a_new_one(folder):
    folder.make("repro")
    (folder.path / "broken").touch()
    said = folder.make("repro", "SET=seed=2", fails=True)
    assert "evaluate is broken" in said and "of an earlier run" in said
    assert folder.text("data/made").startswith("train of seed 2")
    assert not (folder.path / "metrics/eval.json").exists() and not (folder.path / "plots/samples.png").exists()
    (folder.path / "broken").unlink()
    assert ran(folder.make("repro")) == ["evaluate", "sample"]
    assert folder.text("plots/samples.png").startswith("sample of seed 2")


def test_of_a_stage_that_fails_with_the_same_model_the_earlier_outputs_come_back(folder):
    folder.make("repro")
    (folder.path / "broken").touch()
    assert "of an earlier run" not in folder.make("repro", "SET=evaluate.samples=200", fails=True)
    assert folder.text("metrics/eval.json").startswith("evaluate of seed 1")
    assert folder.text("plots/samples.png").startswith("sample of seed 1")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP, signal.SIGTERM])
def test_a_run_that_is_stopped_puts_the_earlier_outputs_back(folder, number):
    folder.make("repro")
    running = folder.slow(*MAKE, "SET=seed=2")
    os.killpg(running.pid, number)
    folder.finish(running)
    for name in ("data/made", "metrics/eval.json", "plots/samples.png"):
        assert "seed 1" in folder.text(name)


def test_what_a_killed_run_had_from_before_it_comes_back_even_when_the_next_one_fails(folder):
    folder.make("repro")
    half = folder.path / "plots/.partial-samples.png"  # as a kill while it was written leaves it
    half.write_text("half")
    running = folder.slow(*MAKE, "SET=evaluate.samples=200")
    assert not (folder.path / "metrics/eval.json").exists()
    half.unlink()  # as the stage that writes it whole does
    os.killpg(running.pid, signal.SIGKILL)
    folder.finish(running)
    (folder.path / "broken").touch()
    folder.make("repro", fails=True)
    assert folder.text("metrics/eval.json").startswith("evaluate of seed 1")
    assert folder.text("plots/samples.png").startswith("sample of seed 1")
    assert not half.exists()


def test_no_settings_are_written_while_what_a_killed_make_left_goes_on(folder):
    running = folder.slow(*MAKE)
    before = folder.text("params.yaml")
    for process in (running.pid, *children(running.pid)):  # make, and the process that it started
        os.kill(process, signal.SIGKILL)
    assert "runs the pipeline" in folder.make("repro", "SET=seed=2", fails=True)
    assert folder.text("params.yaml") == before
    folder.finish(running)
    while (folder.path / ".dvc/tmp/earlier").exists():
        if folder.start(*MAKE).wait():
            time.sleep(0.5)
    assert folder.text("plots/samples.png") == f"sample of seed 1, lr {LR}"


def children(parent: int) -> list[int]:
    told = subprocess.run(["ps", "-o", "pid=", "--ppid", str(parent)], capture_output=True, text=True, check=True)
    return [int(number) for number in told.stdout.split()]


def test_what_dvc_was_writing_when_it_was_killed_does_not_stop_the_next_run(folder):
    folder.make("repro")
    lock, results = folder.text("dvc.lock"), folder.text("plots/samples.png")
    (folder.path / "dvc.lock").write_text(lock[: lock.index("outs", lock.index("  sample:"))])
    (folder.path / ".dvc/tmp/rwlock").write_text("")
    assert ran(folder.make("repro")) == []
    assert (folder.text("dvc.lock"), folder.text("plots/samples.png")) == (lock, results)


def test_a_lock_file_cut_anywhere_keeps_its_whole_stages_and_another_fault_is_left_to_dvc(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    dep = f"path: made.py\n      hash: md5\n      md5: {'0123456789abcdef' * 2}\n      size: 12"
    stages = (
        f"  {name}:\n    cmd: python made.py\n    deps:\n    - {dep}\n    outs:\n    - {dep}\n"
        for name in ("train", "sample")
    )
    whole = f"schema: '2.0'\nstages:\n{''.join(stages)}"
    assert pipeline._is_whole(whole)
    kept = {}
    for end in {*range(0, len(whole), 5), whole.index("  sample") + 12, len(whole)}:
        pipeline.LOCKED.write_text(whole[:end])
        pipeline._mend()
        kept[end] = pipeline.LOCKED.read_text() if pipeline.LOCKED.exists() else ""
        assert kept[end] in ("", whole[: whole.index("  sample")], whole)
    assert kept[len(whole)] == whole
    assert kept[whole.index("  sample") + 12] == whole[: whole.index("  sample")]
    conflict = whole.replace("schema", "<<<<<<< ours\nschema")
    pipeline.LOCKED.write_text(conflict)
    pipeline._mend()
    assert pipeline.LOCKED.read_text() == conflict


def test_an_experiment_leaves_the_settings_of_the_workspace_alone_however_it_ends(folder):
    own = folder.text("params.yaml").replace("seed: 1 ", "seed: 7 ")
    (folder.path / "params.yaml").write_text(own)
    set_ = "SET=data.mirror='a, b #1' data.limit=50 model.name=textbloom model.widths=[8,16]"
    running = folder.start("make", "-s", "-o", "setup", "exp", "PRESET=drawn-plain", set_)
    time.sleep(4)  # while it copies the project, or DVC begins there
    os.killpg(running.pid, signal.SIGHUP)
    running.communicate()
    assert folder.text("params.yaml") == own
    said = folder.make("exp", "PRESET=drawn-plain", set_)
    assert said.endswith("`dvc exp apply drawn-plain` brings the results into this one\n")
    assert folder.text("params.yaml") == own
    made = yaml.safe_load(folder.run("git", "show", f"{experiment(folder, 'drawn-plain')}:params.yaml"))
    assert (made["data"]["mirror"], made["data"]["limit"], made["model"]["widths"]) == ("a, b #1", 50, [8, 16])
    assert made["seed"] == 7
    assert made["model"]["discriminator_text"] is False


def experiment(folder: Folder, name: str) -> str:
    refs = folder.run("git", "for-each-ref", "--format=%(refname)", "refs/exps").split()
    return next(ref for ref in refs if ref.endswith(f"/{name}"))


def test_an_experiment_has_what_has_changed_since_the_last_commit_and_leaves_that_as_it_is(folder):
    (folder.path / "lines.txt").write_bytes(b"one\r\ntwo\r\n\xe9\r\n")
    (folder.path / "gone.txt").touch()
    folder.run("git", "add", "lines.txt", "gone.txt")
    folder.run("git", "commit", "-qm", "files")
    (folder.path / "lines.txt").write_bytes(b"one\r\nthree\r\n\xe9\r\n")
    (folder.path / "gone.txt").unlink()
    (folder.path / "picture.png").write_bytes(bytes(range(256)))
    folder.run("git", "add", "picture.png")
    check = """
assert Path("lines.txt").read_bytes() == b"one\\r\\nthree\\r\\n\\xe9\\r\\n"
assert Path("picture.png").read_bytes() == bytes(range(256)) and not Path("gone.txt").exists()
"""
    (folder.path / "slow.py").write_text(STAGE + check)
    before = folder.run("git", "status", "--porcelain")
    assert [line[:2] for line in before.splitlines()] == [" D", " M", "A ", " M"]
    folder.make("exp", "PRESET=drawn-plain")
    assert folder.run("git", "status", "--porcelain") == before
    assert folder.run("git", "stash", "list") == ""
    assert not list((folder.path / ".dvc/tmp/copies").glob("*/"))


@pytest.mark.parametrize("author", ["someone <a@b.c>", "textbloom <textbloom@localhost>"])
def test_an_experiment_has_the_author_that_this_project_names_or_one_at_least(folder, author):
    if author.startswith("someone"):
        folder.run("git", "config", "user.name", "someone")
        folder.run("git", "config", "user.email", "a@b.c")
    names = [f"--unset=GIT_{who}_{what}" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")]
    nobody = ["env", *names, "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null"]
    folder.run(*nobody, "make", "-s", "-o", "setup", "exp", "PRESET=drawn-plain")
    assert folder.run("git", "log", "-1", "--format=%an <%ae>", experiment(folder, "drawn-plain")) == f"{author}\n"


def test_an_experiment_has_the_untracked_files_that_its_settings_name(folder):
    shutil.copytree(ROOT / "docs/folder/example", folder.path / "pictures")
    (folder.path / ".gitignore").write_text("/data\n/pictures\n/begun\n/slow\n")
    (folder.path / "slow.py").write_text(STAGE + "assert list(Path('pictures').iterdir())\n")
    folder.run("git", "commit", "-qam", "ignored")
    folder.make("exp", "PRESET=drawn-plain", "SET=data.dataset=folder data.path=pictures data.split=none")
    folder.run("dvc", "exp", "apply", "drawn-plain")
    assert "path: pictures" in folder.text("params.yaml")
    assert folder.text("data/made") == f"train of seed 1, lr {config.load(folder.path / config.PARAMS).train.lr}"


def test_an_experiment_has_no_relative_path_out_of_the_project_and_is_not_queued_in_its_copy(folder):
    (folder.path.parent / "pictures").mkdir()
    shutil.copy(next((ROOT / "docs/folder/example").rglob("*.*")), folder.path.parent / "pictures")
    said = folder.make("exp", "PRESET=drawn-plain", "SET=data.path=../pictures", fails=True)
    assert "error: ../pictures lies outside of the project, of which the experiment is a copy: give its whole" in said
    said = folder.make("exp", "PRESET=drawn-plain", "ARGS=--queue", fails=True)
    assert "error: DVC has recorded no experiment: without ARGS=--queue it does" in said


def test_an_experiment_has_the_tracked_folder_that_its_settings_name_whole_or_is_refused(folder):
    mine = folder.path / config.load(ROOT / config.PARAMS).data.path
    (folder.path / "slow.py").write_text(
        STAGE + f"assert list(Path({str(mine.relative_to(folder.path))!r}).iterdir())\n"
    )
    folder.run("git", "add", "-A")
    folder.run("git", "commit", "-qm", "pictures")
    folder.make("exp", "PRESET=drawn-plain")
    (mine / "new.jpg").touch()
    assert "not docs/folder/example/new.jpg, which the experiment would miss" in folder.make(
        "exp", "PRESET=drawn-plain", fails=True
    )


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (
            lambda mine: Path(os.fsdecode(os.fsencode(mine) + b"/ros\xe9.jpg")).touch(),
            r"ros\xe9.jpg: this name is not UTF-8",
        ),
        (lambda mine: Path(os.fsdecode(os.fsencode(mine) + b"/\xe9")).mkdir(), r"mine/\xe9: this name is not UTF-8"),
        (
            lambda mine: (mine / "daisies/b.jpg").symlink_to("b"),
            "mine/daisies/b.jpg is a link that leads nowhere: correct",
        ),
        (lambda mine: (mine / ".hidden").symlink_to(".hidden"), "mine/.hidden is a link that leads nowhere"),
        (lambda mine: os.mkfifo(mine / "pipe"), "mine/pipe is neither a file nor a folder: take it away"),
        (shutil.rmtree, "mine is no folder: correct the path to your pictures"),
        (lambda mine: (mine / "more").symlink_to("daisies"), "mine/more is a link to a folder: put the pictures"),
    ],
)
def test_what_dvc_could_not_read_of_a_folder_is_named_before_it_tries(tmp_path, monkeypatch, spoil, said):
    shutil.copy(ROOT / "params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    shutil.copytree(ROOT / "docs/folder/example", "mine")
    Path("mine/linked.jpg").symlink_to("daisies/white.jpg")
    Path("mine/rosé.txt").touch()
    settings = ["data.dataset=folder", "data.path=mine", "data.split=none"]
    pipeline.write(None, settings)
    spoil(Path("mine"))
    before = Path("params.yaml").read_text()
    with pytest.raises(UserError, match=re.escape(said)) as caught:
        pipeline.write(None, [*settings, "seed=2"])
    assert Path("params.yaml").read_text() == before
    assert str(caught.value).isprintable() and str(caught.value).encode()


def test_all_that_stages_write_is_known_as_such():
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"].values()
    kinds = ("outs", "metrics", "plots")
    listed = [out for stage in stages for kind in kinds for out in stage.get("do", stage).get(kind, [])]
    for out in (Path(next(iter(out)) if isinstance(out, dict) else out) for out in listed):
        assert any(out.is_relative_to(made) for made in pipeline.MADE), out


def test_what_a_run_notes_is_its_own_whatever_an_earlier_one_has_left(folder):
    noted = folder.path / "metrics/provenance/train.json"
    noted.parent.mkdir(parents=True)
    for earlier in ('{"seconds": 1,', '{"gpu_memory_mib": 9999}', "[1]"):
        noted.write_text(earlier)
        folder.run("dvc", "repro", "--force", "--single-item", "train")
        assert set(json.loads(noted.read_text())) == {"seconds", "memory_mib"}


def test_a_pipeline_file_that_is_another_at_the_end_of_a_stage_is_named(folder):
    running = folder.slow(*MAKE)
    (folder.path / "dvc.yaml").write_text(PIPELINE.replace("  train:", "  fit:"))
    (folder.path / "slow").unlink()
    said = running.communicate()[0]
    assert "error: dvc.yaml: has no stage train any more: bring back" in said and "Traceback" not in said


@pytest.mark.parametrize("path", [".", "", "..", "data", "data/raw/folder/mine", "models", "plots", "metrics"])
def test_pictures_that_lie_in_what_the_pipeline_writes_or_hold_it_are_refused(tmp_path, monkeypatch, path):
    shutil.copy(ROOT / "params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    for made in (path or ".", "data/mine"):
        Path(made).mkdir(parents=True, exist_ok=True)
    for given in (path, str(Path(path).resolve())):
        with pytest.raises(UserError, match=r"data\.path: .* holds, or lies in, \S+, which the pipeline writes: give"):
            pipeline.write(None, [f"data.path={given}"])
    pipeline.write(None, ["data.path=data/mine"])


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_subfolder_that_may_not_be_read_is_named(tmp_path, monkeypatch):
    shutil.copy(ROOT / "params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    Path("mine/closed").mkdir(parents=True)
    Path("mine/closed").chmod(0)
    with pytest.raises(UserError, match=r"data\.path: mine/closed: Permission denied: change its owner or its rights"):
        pipeline.write(None, ["data.path=mine"])


def test_a_shell_takes_nothing_in_the_settings_for_its_own(folder):
    odd = "/x/R&D (1) a{b,c} it's; `touch ran` $HOME"
    folder.make("repro", f"SET=data.mirror={shlex.quote(odd)}".replace("$", "$$"))
    assert yaml.safe_load(folder.text("params.yaml"))["data"]["mirror"] == odd
    assert not (folder.path / "ran").exists()
    said = folder.make("repro", "SET=data.mirror=it's", fails=True)
    assert 'error: SET: No closing quotation in "data.mirror=it\'s": close it' in said
    assert "error: preset 'a b' is unknown" in folder.make("repro", "PRESET=a b", fails=True)


def test_where_git_or_dvc_cannot_be_asked_the_mend_is_said(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    said = folder.make("exp", "PRESET=drawn-plain", fails=True)
    assert "error: Git does not trust this checkout" in said and f"--add safe.directory {folder.path}`" in said
    monkeypatch.delenv("GIT_TEST_ASSUME_DIFFERENT_OWNER")
    umlaut = folder.path.rename(folder.path.with_name("pr\u00fcfung"))
    Folder(umlaut).make("exp", "PRESET=drawn-plain")
    assert experiment(Folder(umlaut), "drawn-plain")
    shutil.rmtree(umlaut / ".git")
    assert "is in no Git repository, which DVC needs: clone" in Folder(umlaut).make("repro", fails=True)


def test_merge_marks_in_dvcs_lock_are_left_to_dvc_to_name(folder):
    folder.make("repro")
    lock = folder.text("dvc.lock").replace("  sample:", "<<<<<<< ours\n=======\n>>>>>>> theirs\n  sample:")
    (folder.path / "dvc.lock").write_text(lock)
    said = folder.make("repro", fails=True)
    assert folder.text("dvc.lock") == lock
    assert "dvc.lock" in said and "Traceback" not in said


def test_what_has_not_run_since_its_inputs_were_made_is_stale_and_so_is_what_reads_it():
    def stage(deps, outs):
        return {
            kind: [{"path": p, "md5": m} for p, m in those.items()] for kind, those in (("deps", deps), ("outs", outs))
        }

    sound = {
        "sample": stage({"eval": "e1"}, {"png": "p1"}),
        "evaluate": stage({"model": "m1", "src": "s1"}, {"eval": "e1"}),
        "train": stage({"src": "s2"}, {"model": "m1"}),
    }
    assert pipeline.stale(sound) == []
    sound["train"] = stage({}, {"model": "m2"})
    assert {str(path) for path in pipeline.stale(sound)} == {"eval", "png"}
