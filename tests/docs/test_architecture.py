"""docs/architecture.md is true: its tree, its table of stages, and each "to add a …", done as the page says.

That of a parameter is done in tests/pipeline/test_caching.py.
"""

import ast
import json
import re
from collections import Counter
from pathlib import Path
from string import ascii_lowercase

import pytest
import yaml
from support import manual, prepared_project
from support.dvc_project import ROOT, Project

from textbloom import config
from textbloom.core.tensors import load_metadata, load_tensors, shape_of


def test_the_tree_has_a_line_for_each_file_and_no_other():
    rooms = ROOT / "src" / "textbloom"
    files = {
        str(path.relative_to(rooms))
        for path in rooms.rglob("*")
        if path.is_file() and path.suffix in (".py", ".j2") and not _only_says_what_it_is(path)
    }
    listed = manual.tree()
    assert {name for name, count in Counter(listed).items() if count > 1} == set()
    assert set(listed) == files


def _only_says_what_it_is(path: Path) -> bool:
    """An `__init__.py` without code."""
    if path.name != "__init__.py":
        return False
    return all(isinstance(node, ast.Expr) for node in ast.parse(path.read_text(encoding="utf-8")).body)


def test_the_table_of_stages_has_the_rooms_of_dvc_yaml():
    pipeline = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    listed = {}
    for row in re.findall(r"^\| (\w+) \| ([^|]+) \|$", manual.section("Which stage may use which room"), re.M):
        listed[row[0]] = {re.match(r"\w+", room)[0] for room in re.sub(r"\(.*?\)", "", row[1]).split(", ")}
    rooms = {
        name: {dep.split("/")[2] for dep in stage.get("do", stage)["deps"] if dep.startswith("src/")}
        for name, stage in pipeline.items()
    }
    assert {name: rooms for name, rooms in listed.items() if name != "stage"} == rooms


def test_every_room_has_its_row():
    rows = re.findall(r"^\| `(\w+)/` \| [^|]+ \|$", manual.section("The rooms"), re.M)
    folders = [path.name for path in (ROOT / "src/textbloom").iterdir() if any(path.glob("**/*.py")) and path.is_dir()]
    assert sorted(rows) == sorted(folders)


@pytest.fixture(scope="module")
def blank(tmp_path_factory) -> Project:
    """A copy of the project without data."""
    return Project.new(tmp_path_factory.mktemp("blank"))


@pytest.fixture(scope="module")
def prepared(blank: Project, tmp_path_factory) -> Project:
    """The same with a few prepared pictures and an untrained generator."""
    project = blank.copy(tmp_path_factory.mktemp("prepared"))
    prepared_project.write(project.folder)
    return project


@pytest.fixture
def copy(prepared: Project, tmp_path: Path) -> Project:
    return prepared.copy(tmp_path)


@pytest.fixture(scope="module")
def trained(prepared: Project, tmp_path_factory) -> Project:
    """A copy to which the page's recipe was added, after the stage train: two steps."""
    project = prepared.copy(tmp_path_factory.mktemp("trained"))
    manual.apply("A recipe", project.folder)
    half = prepared_project.TRAIN // 2
    tiny = ["model.features=4", "train.epochs=1", f"train.batch_size={half}"]
    project.run("textbloom", "params", "--preset", "drawn-lsgan", "--set", *tiny, own=True)
    run_stage(project, "train")
    return project


def run_stage(project: Project, name: str) -> None:
    project.run("python", f"stages/{name}.py", own=True)


def change(project: Project, *overrides: str) -> None:
    project.run("textbloom", "params", "--set", *overrides, own=True)


def test_a_recipe_is_trained_by_the_stage_train(trained: Project):
    assert json.loads(trained.text("metrics/train.json"))["steps"] == 2
    assert json.loads(trained.text("models/base/config.json"))["network"]["name"] == "lsgan"
    terms = trained.text("plots/losses.csv").splitlines()[0].split(",")[3:]
    assert set(terms) == {"d_real", "d_wrong", "d_fake", "g_adversarial"}


def test_a_sheet_is_drawn_by_the_stage_sample_and_listed_for_dvc(trained: Project, tmp_path: Path):
    project = trained.copy(tmp_path)
    manual.apply("A page", project.folder)
    (project.folder / config.MEMORISATION).write_text("quantile,generated,real\n0,1,2\n1,4,5\n")
    run_stage(project, "sample")
    sheet = project.folder / "plots/average.png"
    assert sheet.read_bytes().startswith(b"\x89PNG")
    assert sheet in project.outputs("sample")


# The evaluate stage with an extractor and an encoder that are quick.
EVALUATE = """
import runpy, sys
from pathlib import Path
sys.path.insert(0, "tests")
from support import prepared_project
from textbloom.report import directions
from textbloom.text import pretrained
from torch_fidelity.registry import FEATURE_EXTRACTORS_REGISTRY
FEATURE_EXTRACTORS_REGISTRY["coarse"] = prepared_project.Coarse
pretrained.load = lambda name, **_: prepared_project.Words()
prepared_project.write_real_features(Path())
runpy.run_path("stages/evaluate.py", run_name="__main__")
assert directions.gain("brightness_gap", 5, 3) == 2
"""


def test_a_metric_is_measured_by_the_stage_evaluate_and_known_to_reports(copy: Project):
    manual.apply("A metric", copy.folder)
    copy.run("python", "-c", EVALUATE, own=True)
    assert 0 <= json.loads(copy.text("metrics/eval.json"))["brightness_gap"] <= 255


def test_a_data_set_goes_through_the_data_stages(copy: Project):
    manual.apply("A data set", copy.folder)
    change(copy, "data.dataset=squares", "data.split=random")
    for name in ("download", "captions", "images"):
        run_stage(copy, name)
    captions = copy.text("data/captions.csv").splitlines()
    assert len(captions) == 601
    assert captions[1].endswith(",0,a red square of 65 pixels")
    images = copy.folder / config.IMAGES
    assert shape_of(images, "images") == (600, 3, 64, 64)
    assert load_tensors(images)["images"][0].flatten(1).float().mean(1).tolist() == [255, 0, 0]


def test_a_text_encoder_is_opened_by_its_name(copy: Project):
    manual.apply("A text encoder", copy.folder)
    change(copy, "encoder.name=letter-counts")
    run_stage(copy, "embed")
    embeddings = copy.folder / config.EMBEDDINGS
    assert load_metadata(embeddings)["encoder"]["name"] == "letter-counts"
    assert load_tensors(embeddings)["embeddings"][0].tolist() == [
        "flower 0".count(letter) for letter in ascii_lowercase
    ]


def test_all_of_it_together_is_clean_code(blank: Project, tmp_path: Path):
    project = blank.copy(tmp_path)
    touched: set[str] = set()
    titles = re.findall(r"^### (.*)$", manual.section("To add something, touch …"), re.M)
    assert len(titles) == 6
    for title in titles:
        touched |= set(manual.apply(title, project.folder))
    project.run("ruff", "check", *(path for path in touched if path.endswith(".py")))
    project.run("ruff", "format", "--check", *(path for path in touched if path.endswith(".py")))
