"""What runs again after an edit: shown by DVC in a clone whose outputs it takes for those of the code as it was."""

from collections.abc import Callable
from pathlib import Path

import pytest
from support.dvc_project import STAGES, Project, ran


@pytest.fixture(scope="module")
def done(tmp_path_factory) -> Project:
    """A project in which every stage counts as run: to DVC a stand-in for an output is as good as the output."""
    project = Project.new(tmp_path_factory.mktemp("done"))
    write_outputs(project, STAGES)
    project.run("dvc", "commit", "--force")
    return project


def write_outputs(project: Project, stages: list[str], **dataset: str) -> None:
    for output in [output for stage in stages for output in project.outputs(stage, **dataset)]:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text("a stand-in")


def would_run(project: Project) -> list[str]:
    return ran(project.run("dvc", "repro", "--dry"))


@pytest.fixture
def edited(done: Project):
    """A function that appends a line to a file of the project; the file is as before after the test."""
    before: dict[Path, bytes] = {}

    def edit(name: str, line: str) -> None:
        path = done.folder / name
        before.setdefault(path, path.read_bytes())
        path.write_bytes(path.read_bytes() + line.encode() + b"\n")

    yield edit
    for path, content in before.items():
        path.write_bytes(content)


Edit = Callable[[str, str], None]


def a_file_of(project: Project, room: str) -> str:
    return str(max((project.folder / "src/textbloom" / room).glob("*.py")).relative_to(project.folder))


@pytest.mark.parametrize(
    ("rooms", "stages"),
    [
        (["viz"], ["preview", "sample"]),
        (["metrics"], ["evaluate"]),
        (["sources/drawn"], ["download"]),
        (["app", "sources/flowers102"], []),
    ],
)
def test_an_edit_runs_the_stages_that_list_its_room_and_no_other(done: Project, edited: Edit, rooms, stages):
    for room in rooms:
        edited(a_file_of(done, room), "# edited")
    cache = done.folder / "src/textbloom/models/__pycache__"  # what Python leaves in a room is no edit
    cache.mkdir(exist_ok=True)
    (cache / f"{rooms[0].replace('/', '-')}.cpython-311.pyc").write_bytes(b"compiled")
    assert would_run(done) == stages


def test_a_new_parameter_with_its_default_runs_nothing_until_it_is_set(done: Project, edited: Edit):
    # What is added to the end of config.py stands for an edit of its classes.
    edited(
        "src/textbloom/config.py",
        "class Train(Train):\n    patience: Count = 3\n\n\n"
        "class Params(Params):\n    train: Train\n    brightness: Float = 1.0",
    )
    edited("params.yaml", "brightness: 1.0")
    assert would_run(done) == []
    done.run("textbloom", "params", "--set", "train.patience=4", own=True)
    assert would_run(done) == ["train"]


def test_an_edit_of_the_drawing_downloads_no_published_archive_again(done: Project, edited: Edit):
    edited("params.yaml", "")
    done.run("textbloom", "params", "--set", "data.dataset=flowers102")
    write_outputs(done, ["download"], dataset="flowers102")
    done.run("dvc", "commit", "--force", "download")
    edited(a_file_of(done, "sources/drawn"), "# edited")
    assert "download" not in would_run(done)
    edited(a_file_of(done, "sources/flowers102"), "# edited")
    assert "download" in would_run(done)
