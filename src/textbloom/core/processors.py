"""How many processors this process may use: in a container or a batch job fewer than the machine has."""

import os
from math import ceil, inf
from pathlib import Path

_GROUPS = Path("/sys/fs/cgroup")
_OWN = Path("/proc/self/cgroup")


def cores() -> int:
    """Whole processors that are allowed by affinity and by the limits of the control groups, at least 1.

    Neither torch nor `os.process_cpu_count` looks at the latter, by which containers are held.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, ceil(min(allowed, _quota())))


def _quota() -> float:
    """The least limit of this process's control groups and those above them, in processors.

    See the kernel's documents admin-guide/cgroup-v2 (cpu.max) and scheduler/sched-bwc (version 1).
    """
    if not _OWN.exists():
        return inf
    found = inf
    for line in _OWN.read_text(encoding="utf-8").splitlines():
        _, controllers, group = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        top = _GROUPS / "cpu" if controllers else _GROUPS
        folder = top / group.lstrip("/")  # in a container often only `top` is there, which is then its own
        found = min(found, *map(_limit, (folder, *folder.parents)))
    return found


def _limit(folder: Path) -> float:
    if (folder / "cpu.max").exists():
        quota, period = (folder / "cpu.max").read_text(encoding="utf-8").split()
    elif (folder / "cpu.cfs_quota_us").exists():
        quota, period = [(folder / f"cpu.cfs_{name}_us").read_text(encoding="utf-8") for name in ("quota", "period")]
    else:
        return inf
    return inf if quota.strip() in ("max", "-1") else int(quota) / int(period)
