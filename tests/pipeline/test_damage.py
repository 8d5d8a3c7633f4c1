"""Random damage to every file that a stage or command reads: refused in one line, or the result is the sound file's.

Where the file's own meaning has changed, such as a digit in a table, the result may be another: docs/reliability.md.
"""

from collections import Counter

import pytest
import torch
from support.damage import READS, Project

SEED = 1
FEW, MANY = 60, 10_000
QUICK = ["download", "captions", "images", "preview"]


@pytest.fixture
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize(
    ("commands", "count"), [(QUICK, FEW), pytest.param(list(READS), MANY, marks=pytest.mark.slow)], ids=["few", "many"]
)
def test_damage_is_refused_in_one_line_or_changes_nothing_but_what_the_file_says(
    tmp_path, monkeypatch, one_thread, commands, count
):
    project = Project(tmp_path, monkeypatch, commands)
    found, faults = Counter(), []
    for number in range(count):
        command, file, kind, verdict = project.damage(number, SEED)
        found[file, verdict.name] += 1
        if verdict.name.startswith("fault"):
            faults.append(f"{number}: {command}, {file}, {kind}: {verdict.name}: {verdict.said}")
    for (file, verdict), times in sorted(found.items()):  # shown with -s: the table of docs/reliability.md
        print(f"{file:45} {verdict:20} {times:6}")
    assert not faults, "\n".join(faults)
    assert sum(times for (_, verdict), times in found.items() if verdict == "refused") > count / 4
