"""Threads are counted by what a container may use, not by what its machine has."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from textbloom.core import processors


@pytest.fixture(autouse=True)
def eight_cores(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr(processors, "_GROUPS", tmp_path / "groups")
    monkeypatch.setattr(processors, "_OWN", tmp_path / "own")


def grouped(place: Path, own: str, files: dict[str, str]) -> None:
    (place / "own").write_text(own)
    for name, content in files.items():
        (place / "groups" / name).parent.mkdir(parents=True, exist_ok=True)
        (place / "groups" / name).write_text(f"{content}\n")


V1 = "9:name=systemd:/a\n4:cpu,cpuacct:/docker/1f\n3:cpuset:/\n0::/\n"


@pytest.mark.parametrize(
    ("own", "files", "cores"),
    [
        ("0::/\n", {"cpu.max": "200000 100000"}, 2),
        ("0::/\n", {"cpu.max": "150000 100000"}, 2),
        ("0::/\n", {"cpu.max": "20000 100000"}, 1),
        ("0::/\n", {"cpu.max": "max 100000"}, 8),
        ("0::/\n", {"cpu.max": "9900000 100000"}, 8),
        ("0::/a/b\n", {"a/b/cpu.max": "max 100000", "a/cpu.max": "300000 100000"}, 3),
        ("0::/a/b\n", {"a/b/cpu.max": "400000 100000", "a/cpu.max": "max 100000"}, 4),
        (V1, {"cpu/cpu.cfs_quota_us": "250000", "cpu/cpu.cfs_period_us": "50000"}, 5),
        (V1, {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 8),
        (V1, {f"cpu/docker/1f/cpu.cfs_{name}_us": value for name, value in (("quota", "3000"), ("period", "1000"))}, 3),
        ("0::/\n", {}, 8),
    ],
    ids=["2", "1.5", "a fifth", "no limit", "99", "above", "own", "v1 container", "v1 no limit", "v1 own", "unmounted"],
)  # fmt: skip
def test_the_least_limit_of_the_control_groups_counts(tmp_path, own, files, cores):
    grouped(tmp_path, own, files)
    assert processors.cores() == cores


def test_where_there_are_no_control_groups_the_cores_allowed_count():
    assert processors.cores() == 8


@pytest.mark.parametrize(("set_by_hand", "threads"), [(None, 1), ("2", 2)])
def test_torch_takes_no_more_threads_unless_a_person_says_so(set_by_hand, threads):
    code = (
        "import torch; torch.set_num_threads(2); from textbloom.core import processors; processors.cores = lambda: 1; "
        "from textbloom.core import runtime; print(torch.get_num_threads())"
    )
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    environment |= {"OMP_NUM_THREADS": set_by_hand} if set_by_hand else {}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == f"{threads}\n"
