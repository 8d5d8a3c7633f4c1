"""Two workers of one queue share the machine, the cache and nothing else."""

import contextlib
import json
import time

import pytest

RATES = {"slow": "0.0001", "fast": "0.001"}


@pytest.mark.slow
def test_two_queue_workers_finish_each_with_a_state_of_its_own(built, tmp_path):
    project = built.copy(tmp_path)
    for name, rate in RATES.items():
        project.run("dvc", "exp", "run", "--queue", "--name", name, "-S", f"train.lr={rate}", "-S", "train.epochs=20")
    project.run("dvc", "queue", "start", "--jobs", "2")
    holders: dict[str, set[str]] = {}
    until, looked, told = time.monotonic() + 1200, 0.0, "Running"
    while time.monotonic() < until and ("Queued" in told or "Running" in told):
        # Far more often than DVC can be asked: a training is over in seconds.
        for lock in (project.folder / ".dvc/tmp/resume").glob("*/lock"):
            with contextlib.suppress(FileNotFoundError):
                holders.setdefault(lock.parent.name, set()).add(lock.read_text(encoding="utf-8"))
        time.sleep(0.1)
        if time.monotonic() - looked > 60:
            told, looked = project.run("dvc", "queue", "status"), time.monotonic()
    assert told.count("Success") == 2, told
    assert len(holders) == 2 and all(len(processes - {""}) == 1 for processes in holders.values()), holders
    refs = project.run("git", "for-each-ref", "--format=%(refname)", "refs/exps").split()
    losses = set()
    for name in RATES:
        (ref,) = [ref for ref in refs if ref.endswith(f"/{name}")]
        losses.add(json.loads(project.run("git", "show", f"{ref}:metrics/train.json"))["loss_generator"])
    assert len(losses) == 2
