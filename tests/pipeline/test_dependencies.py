"""dvc.yaml is true: a stage lists the rooms that it imports and the parameters that it reads, and no others."""

import ast
import inspect
import re
from collections import Counter
from pathlib import Path

import pytest
import yaml
from support.imports import imported_files, imported_modules

from textbloom import config

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src"
ROOMS = SOURCE / "textbloom"
TEXT = (ROOT / "dvc.yaml").read_text(encoding="utf-8")
# A stage that is there for each item of a list is written once, under `do`.
PIPELINE = {name: stage.get("do", stage) for name, stage in yaml.safe_load(TEXT)["stages"].items()}
PARAMS = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
# The layers of the house from the ground up: a room imports those before it.
LAYERS = [
    "core", "data", "sources", "dataset", "features", "models", "training", "text", "sampling", "metrics", "viz",
    "report", "app",
]  # fmt: skip


def room(file: Path) -> str:
    """The folder of src/textbloom that a file lies in; of the data sets' own folders only one is ever imported."""
    parts = file.relative_to(ROOMS).parts
    return "sources/${data.dataset}" if parts[0] == "sources" and len(parts) > 2 else parts[0]


def runs_something(file: Path) -> bool:
    """False for a file of nothing but a docstring, as many __init__.py are: no edit of it changes a result."""
    return any(not isinstance(node, ast.Expr) for node in ast.parse(file.read_text(encoding="utf-8")).body)


def rooms_of(file: Path) -> set[str]:
    """The rooms that `file` imports. config.py is none: DVC follows its values and paths itself."""
    files = imported_files(file, SOURCE) - {ROOMS / "config.py"}
    return {room(path) for path in files if runs_something(path)}


@pytest.mark.parametrize("stage", PIPELINE)
def test_a_stage_lists_its_script_and_exactly_the_rooms_that_it_imports(stage):
    script = ROOT / "stages" / f"{stage}.py"
    expected = {f"stages/{stage}.py", *(f"src/textbloom/{name}" for name in rooms_of(script))}
    listed = [dep for dep in PIPELINE[stage]["deps"] if dep.startswith(("src/", "stages/"))]
    assert sorted(listed) == sorted(expected)


@pytest.mark.parametrize("stage", PIPELINE)
def test_stages_never_import_each_other(stage):
    modules = {name.split(".")[0] for name in imported_modules(ROOT / "stages" / f"{stage}.py", SOURCE)}
    assert not modules & {"stages", *PIPELINE}


@pytest.mark.parametrize("name", [name for name in LAYERS if (ROOMS / name).is_dir()])
def test_a_room_imports_no_room_above_it_and_only_the_app_reads_the_parameters(name):
    allowed = LAYERS[: LAYERS.index(name) + 1]
    for file in (ROOMS / name).rglob("*.py"):
        direct = {module for module in imported_modules(file, SOURCE) if module.startswith("textbloom.")}
        used = {module.split(".")[1] for module in direct}
        assert used <= {*allowed, *(["config"] if name in ("app", "report") else [])}, file


def test_every_file_lies_in_a_room():
    loose = {path.name for path in ROOMS.glob("*.py")}
    assert loose <= {"__init__.py", "config.py"}
    folders = {path.name for path in ROOMS.iterdir() if path.is_dir() and any(path.rglob("*.py"))}
    assert folders <= set(LAYERS)


@pytest.mark.parametrize("area", ["models", "training/objectives"])
def test_networks_and_objectives_know_nothing_of_files_or_parameters(area):
    for file in (ROOMS / area).rglob("*.py"):
        files = {path for path in imported_files(file, SOURCE) if runs_something(path)}
        names = {str(path.relative_to(ROOMS)) for path in files}
        names -= {"core/convolutions.py"}  # which knows PyTorch alone
        assert [name for name in names if not name.startswith(("models/", "training/objectives/"))] == [], file


def test_no_two_classes_have_one_name():
    trees = (ast.parse(file.read_text(encoding="utf-8")) for file in ROOMS.rglob("*.py"))
    found = Counter(node.name for tree in trees for node in ast.walk(tree) if isinstance(node, ast.ClassDef))
    assert [name for name, times in found.items() if times > 1] == []


# Each line imports room `a` of the tree below, except the last ones, which import nothing of the package.
FORMS = {
    "import textbloom.a.one": {"a"},
    "import textbloom.a.one as other": {"a"},
    "from textbloom import a": {"a"},
    "from textbloom.a import one": {"a"},
    "from textbloom.a.one import NAME": {"a"},
    "def f():\n    from textbloom.a import one": {"a"},
    "import importlib\nimportlib.import_module('textbloom.a.one')": {"a"},
    "from importlib import import_module as load\nload('textbloom.a')": {"a"},
    "import importlib\nimportlib.import_module(f'textbloom.sources.{name}')": {"sources/${data.dataset}"},
    "__import__('textbloom.a.one')": {"a"},
    "from textbloom.c import chained": {"a", "c"},
    "import os, json": set(),
    "# import textbloom.a": set(),
}


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """A small package with the rooms a, b, c and the folders of two data sets, in place of this project's."""
    package = tmp_path / "src" / "textbloom"
    for name in ("a/one", "b/two", "c/chained", "sources/drawn/draw", "sources/cub200/fetch"):
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / f"{name}.py").write_text("NAME = 1\n")
    for folder in ("a", "b", "c"):
        (package / folder / "__init__.py").write_text("VALUE = 1\n")
    for folder in ("drawn", "cub200"):
        (package / "sources" / folder / "__init__.py").write_text("VALUE = 1\n")
    for folder in (".", "sources"):
        (package / folder / "__init__.py").write_text('"""Nothing."""\n')
    (package / "c/chained.py").write_text("from ..a import one\n")
    monkeypatch.setitem(globals(), "ROOMS", package)
    monkeypatch.setitem(globals(), "SOURCE", package.parent)
    return tmp_path


@pytest.mark.parametrize("text", FORMS)
def test_every_form_of_import_is_followed(tree, text):
    (tree / "stage.py").write_text(text)
    assert rooms_of(tree / "stage.py") == FORMS[text]


@pytest.mark.parametrize(("text", "found"), [("from .two import NAME", "b"), ("from ..a.one import NAME", "a")])
def test_relative_imports_are_followed(tree, text, found):
    file = ROOMS / "b" / "three.py"
    file.write_text(text)
    assert found in rooms_of(file)


def test_an_import_that_no_text_names_is_refused(tree):
    (tree / "stage.py").write_text("import importlib\nimportlib.import_module(name)\n")
    with pytest.raises(AssertionError, match="import by a literal"):
        rooms_of(tree / "stage.py")


def read_keys(script: Path) -> set[str]:
    """The `p.section` and `p.section.key` that a stage's text reads, a property of a section by the keys it reads."""
    keys: set[str] = set()
    for node in ast.walk(ast.parse(script.read_text(encoding="utf-8"))):
        chain: list[str] = []
        while isinstance(node, ast.Attribute):
            chain.insert(0, node.attr)
            node = node.value
        if chain and isinstance(node, ast.Name) and node.id == "p":
            section = PARAMS.get(chain[0])
            if not isinstance(section, dict) or len(chain) < 2 or chain[1] == "model_dump":
                keys.add(chain[0])
            elif chain[1] in section:
                keys.add(f"{chain[0]}.{chain[1]}")
            else:
                text = inspect.getsource(getattr(config.Params.model_fields[chain[0]].annotation, chain[1]).fget)
                keys |= {f"{chain[0]}.{key}" for key in re.findall(r"self\.(\w+)", text)}
    # `p.section` is also a part of every `p.section.key`.
    return {key for key in keys if not any(other.startswith(f"{key}.") for other in keys)}


def covered(key: str, listed: list[str]) -> bool:
    return key in listed or key.split(".")[0] in listed


@pytest.mark.parametrize("stage", PIPELINE)
def test_a_stage_lists_every_parameter_it_reads_and_no_other(stage):
    listed = PIPELINE[stage].get("params", [])
    reads = read_keys(ROOT / "stages" / f"{stage}.py")
    assert {key for key in reads if not covered(key, listed)} == set()
    unread = [key for key in listed if key not in reads and not any(read.startswith(f"{key}.") for read in reads)]
    assert unread == []


def test_every_parameter_is_read_by_some_stage():
    listed = [key for stage in PIPELINE.values() for key in stage.get("params", [])] + re.findall(
        r"\$\{([\w.]+)\}", TEXT
    )
    keys = [f"{s}.{k}" if k else s for s, v in PARAMS.items() for k in (v if isinstance(v, dict) else [""])]
    assert [key for key in keys if not covered(key, listed)] == []


def test_every_stage_depends_on_the_files_that_stages_before_it_wrote():
    # The two things that no stage writes: a person's own pictures, and which of the two trained models is looked at.
    written = {"${data.path}", "models/${evaluate.model}"}
    for name, stage in PIPELINE.items():
        data = {dep for dep in stage["deps"] if not dep.startswith(("src/", "stages/"))}
        assert data <= written, f"{name} reads {data - written}, which no stage before it writes"
        for kind in ("outs", "metrics", "plots"):
            written |= {next(iter(out)) if isinstance(out, dict) else out for out in stage.get(kind, [])}


def test_the_pipeline_is_short_enough_to_read():
    assert len(TEXT.splitlines()) <= 170
