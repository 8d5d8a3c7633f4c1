"""Kills at random moments and full disks: nothing half-written is ever taken for whole, and a rerun makes the same."""

import contextlib
import hashlib
import itertools
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.dvc_project import STAGES, Project, environment
from support.kills import Campaign, Fault
from support.warm import Stage

QUICK = ["download", "images", "embed"]
SEED = 1
THOUSAND = {"stage": 640, "pipeline": 240, "experiment": 80, "queue": 20, "set_up": 20}
EARLIER = "what an earlier run left"


def digest(path: Path) -> str | None:
    """Of a file's bytes, or of a folder's names and bytes; None where there is neither."""
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.is_file())
        listing = [f"{file.relative_to(path)} {hashlib.sha256(file.read_bytes()).hexdigest()}" for file in files]
        return hashlib.sha256("\n".join(listing).encode()).hexdigest()
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else None


def age(path: Path) -> str | None:
    """Put something that a run can only replace in the output's place; returns its digest."""
    if path.is_dir():
        shutil.rmtree(path)
        path.mkdir()
        (path / "earlier").write_text(EARLIER)
    else:
        path.write_text(EARLIER)
    return digest(path)


def kill(running: "subprocess.Popen[bytes] | Stage") -> None:
    """End the stage and all its processes as the loss of power would."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(running.pid, signal.SIGKILL)
    running.wait()


def whole_or_earlier(path: Path, *versions: str | None) -> bool:
    """A folder takes two renames, between which it is absent."""
    found = digest(path)
    return found in versions or (found is None and not path.suffix)


def partial(project: Project) -> list[Path]:
    return [
        path for top in ("data", "models", "metrics", "plots") for path in (project.folder / top).rglob(".partial-*")
    ]


def kill_while_writing(campaign: Campaign, stage: str, delay: float) -> bool:
    """Kill the stage `delay` seconds after a first output begins; returns whether it was still running."""
    running = campaign.start([stage], campaign.staged.folder)
    while running.poll() is None and not partial(campaign.staged):
        time.sleep(0.001)
    time.sleep(delay)
    alive = running.poll() is None
    kill(running)
    return alive


@pytest.fixture
def campaign(tmp_path, monkeypatch) -> Iterator[Campaign]:
    campaign = Campaign(tmp_path, monkeypatch)
    yield campaign
    campaign.close()


def test_each_stage_killed_while_it_writes_leaves_what_was_there_and_a_rerun_makes_the_same_bytes(campaign):
    project, hits = campaign.staged, 0
    for stage in STAGES:
        outputs = project.outputs(stage, "flowers102")
        whole = {path: digest(path) for path in outputs}
        earlier = {path: age(path) for path in outputs}
        hits += kill_while_writing(campaign, stage, delay=0.0)
        for path in outputs:
            assert whole_or_earlier(path, earlier[path], whole[path]), path
        campaign.run([stage], project.folder)
        assert {path: digest(path) for path in outputs} == whole, stage
        assert partial(project) == []
    assert hits > len(STAGES) / 2, "too few kills met a stage at its writing to say anything"


@pytest.mark.slow
def test_fifty_kills_at_random_moments_and_every_rerun_ends_with_the_same_hashes(campaign):
    project, chance = campaign.staged, random.Random(0)
    hits = 0
    for turn in range(50):
        stage = STAGES[turn % len(STAGES)]
        outputs = project.outputs(stage, "flowers102")
        whole = {path: digest(path) for path in outputs}
        earlier = {path: age(path) for path in outputs}
        if turn % 2:
            hits += kill_while_writing(campaign, stage, delay=chance.uniform(0.0, 0.05))
        else:
            running = campaign.start([stage], project.folder)
            time.sleep(chance.uniform(0.0, campaign.usual[stage]))
            hits += running.poll() is None
            kill(running)
        for path in outputs:
            assert whole_or_earlier(path, earlier[path], whole[path]), (turn, path)
        campaign.run([stage], project.folder)
        assert {path: digest(path) for path in outputs} == whole, turn
        assert partial(project) == []
    assert hits > 25, "too few kills met a running stage to say anything"


@pytest.mark.slow
def test_a_killed_pipeline_goes_on_to_the_same_lock(built, tmp_path):
    chance = random.Random(1)
    for turn in range(5):
        project = Project.new(tmp_path / str(turn), built.warm)
        shutil.copytree(built.folder / "data/raw", project.folder / "data/raw")
        running = subprocess.Popen(
            ["dvc", "repro"],
            cwd=project.folder,
            env=project.environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        time.sleep(chance.uniform(2.0, 20.0))
        kill(running)
        project.run("dvc", "repro")
        assert project.text("dvc.lock") == built.text("dvc.lock")


@pytest.mark.parametrize(
    ("stages", "kills"),
    [(["download", "captions", "images"], {"stage": 8}), pytest.param(STAGES, THOUSAND, marks=pytest.mark.slow)],
    ids=["few", "thousand"],
)
def test_whatever_was_killed_the_next_run_ends_with_the_bytes_of_one_that_was_not(tmp_path, monkeypatch, stages, kills):
    campaign, faults = Campaign(tmp_path, monkeypatch, stages), []
    try:
        for kind, wanted in kills.items():
            wanted += campaign.done.total()
            for number in itertools.count():
                if campaign.done.total() >= wanted:
                    break
                try:
                    getattr(campaign, kind)(random.Random(f"{SEED} {kind} {number}"))
                except Fault as fault:
                    faults.append(f"{kind} {number}: {fault}")
    finally:
        campaign.close()
    for kill, times in sorted(campaign.done.items()):  # shown with -s: the table of docs/reliability.md
        print(f"{kill.kind:20} {kill.signal:8} {'whole group' if kill.whole_group else 'alone':12} {times:5}")
    assert not faults, "\n".join(faults)


def may_mount() -> bool:
    command = ["unshare", "--user", "--map-root-user", "--mount", "true"]
    return (
        shutil.which("unshare") is not None
        and subprocess.run(command, capture_output=True, check=False).returncode == 0
    )


# In a mount of its own, the project on a small disk with nothing left.
ON_A_FULL_DISK = """
set -e
mount -t tmpfs -o size=$(($(du -s --block-size=1 "$1" | cut -f1) + 16777216)) tmpfs "$2"
cp -a "$1"/. "$2"
cd "$2"
dd if=/dev/zero of=filler bs=4096 status=none 2> /dev/null || true
status=0
PYTHONPATH=src "$4" stages/"$3".py || status=$?
rm filler
tar -cf "$5" --exclude=.dvc .
exit $status
"""


@pytest.mark.skipif(not may_mount(), reason="this system lets nobody but root mount a small disk")
@pytest.mark.parametrize(
    "stage", [stage if stage in QUICK else pytest.param(stage, marks=pytest.mark.slow) for stage in STAGES]
)
def test_a_full_disk_is_one_line_and_the_earlier_outputs_stay(built, tmp_path, stage):
    project = built.copy(tmp_path / "project")
    shutil.rmtree(project.folder / ".dvc")
    earlier = {path: age(path) for path in project.outputs(stage)}
    disk, result, after = tmp_path / "disk", tmp_path / "result.tar", tmp_path / "after"
    disk.mkdir()
    after.mkdir()
    ran = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", "bash", "-c", ON_A_FULL_DISK, "bash"]
        + [str(each) for each in (project.folder, disk, stage, sys.executable, result)],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    errors = [line for line in ran.stderr.splitlines() if line.startswith("error:")]
    assert ran.returncode == 1 and len(errors) == 1, ran.stderr
    assert "free some space" in errors[0] and "Traceback" not in ran.stderr
    subprocess.run(["tar", "-xf", result, "-C", after], check=True)
    for path, content in earlier.items():
        assert digest(after / path.relative_to(project.folder)) == content, path
