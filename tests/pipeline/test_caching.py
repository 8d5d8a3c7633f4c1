"""What runs again after an edit: shown by DVC in a clone whose outputs it takes for those of the code as it was."""

from collections.abc import Callable
from pathlib import Path

import pytest
from support import manual
from support.dvc_project import STAGES, Project, ran


@pytest.fixture(scope="module")
def done(tmp_path_factory) -> Project:
    """A project in which every stage counts as run: to DVC a stand-in for an output is as good as the output."""
    project = Project.new(tmp_path_factory.mktemp("done"))
    project.take_as_built(STAGES)
    return project


def would_run(project: Project) -> list[str]:
    return ran(project.run("dvc", "repro", "--dry"))


@pytest.fixture
def edited(done: Project):
    """A function that appends text to a file of the project; the file is as before after the test."""
    before: dict[Path, bytes] = {}

    def edit(name: str, text: str = "") -> None:
        path = done.folder / name
        before.setdefault(path, path.read_bytes())
        path.write_bytes(path.read_bytes() + text.encode())

    yield edit
    for path, content in before.items():
        path.write_bytes(content)


Edit = Callable[..., None]


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
        edited(a_file_of(done, room), "# edited\n")
    cache = done.folder / "src/textbloom/models/__pycache__"  # what Python leaves in a room is no edit
    cache.mkdir(exist_ok=True)
    (cache / f"{rooms[0].replace('/', '-')}.cpython-311.pyc").write_bytes(b"compiled")
    assert would_run(done) == stages


def test_a_new_parameter_with_its_default_runs_nothing_until_it_is_set(done: Project, edited: Edit):
    schema, reader = manual.edits("A parameter")
    for edit in (schema, reader):
        edited(edit.path)
    edited("params.yaml")
    schema.apply(done.folder)
    assert "up to date" in done.run("dvc", "status")
    done.run("textbloom", "params", "--set", "sample.noise_seed=7", own=True)
    assert would_run(done) == ["sample"]
    reader.apply(done.folder)
    assert would_run(done) == ["sample"]


def test_an_edit_of_the_drawing_downloads_no_published_archive_again(done: Project, edited: Edit):
    edited("params.yaml")
    done.run("textbloom", "params", "--set", "data.dataset=flowers102")
    done.take_as_built(["download"], dataset="flowers102")
    edited(a_file_of(done, "sources/drawn"), "# edited\n")
    assert "download" not in would_run(done)
    edited(a_file_of(done, "sources/flowers102"), "# edited\n")
    assert "download" in would_run(done)
