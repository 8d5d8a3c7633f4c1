"""dvc.yaml is true: each stage lists the modules it imports and the parameters it reads, and no others."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "dvc.yaml").read_text(encoding="utf-8")
# A stage that is there for each item of a list is written once, under `do`.
PIPELINE = {name: stage.get("do", stage) for name, stage in yaml.safe_load(TEXT)["stages"].items()}
PARAMS = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))


def module_files(module: str) -> set[Path]:
    """The files that `import module` runs: the module's own and those of the packages above it."""
    files: set[Path] = set()
    path = ROOT / "src"
    for part in module.split("."):
        path = path / part
        if (path / "__init__.py").exists():
            files.add(path / "__init__.py")
        elif path.with_suffix(".py").exists():
            files.add(path.with_suffix(".py"))
        else:
            break  # a name inside the module
    return files


@cache
def imported(file: Path) -> frozenset[Path]:
    """Every file of src/ that `file` imports, directly or not, anywhere in its text."""
    found: set[Path] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: imports are absolute here"
            modules = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for module in modules:
            if module.split(".")[0] == "textbloom":
                found |= module_files(module)
    return frozenset(found)


def closure(file: Path) -> set[Path]:
    seen: set[Path] = set()
    waiting = [file]
    while waiting:
        for path in imported(waiting.pop()) - seen:
            seen.add(path)
            waiting.append(path)
    return seen


@pytest.mark.parametrize("stage", PIPELINE)
def test_a_stage_lists_its_script_and_exactly_the_modules_it_imports(stage):
    script = ROOT / "stages" / f"{stage}.py"
    # An empty __init__.py runs nothing that could change a result.
    needed = {path for path in closure(script) if path.read_text(encoding="utf-8").strip()} | {script}
    expected = sorted(str(path.relative_to(ROOT)) for path in needed)
    listed = sorted(dep for dep in PIPELINE[stage]["deps"] if dep.startswith(("src/", "stages/")))
    assert listed == expected


def read_keys(script: Path) -> set[str]:
    """The `p.section` and `p.section.key` that a stage's text reads."""
    keys: set[str] = set()
    for node in ast.walk(ast.parse(script.read_text(encoding="utf-8"))):
        chain: list[str] = []
        while isinstance(node, ast.Attribute):
            chain.insert(0, node.attr)
            node = node.value
        if chain and isinstance(node, ast.Name) and node.id == "p":
            section = PARAMS.get(chain[0])
            if isinstance(section, dict) and len(chain) > 1 and chain[1] in section:
                keys.add(f"{chain[0]}.{chain[1]}")
            else:
                keys.add(chain[0])
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


def test_stages_never_import_each_other():
    for script in (ROOT / "stages").glob("*.py"):
        assert "stages" not in {
            (node.module or "").split(".")[0]
            for node in ast.walk(ast.parse(script.read_text(encoding="utf-8")))
            if isinstance(node, ast.ImportFrom)
        }


@pytest.mark.parametrize("area", ["models", "objectives"])
def test_networks_and_losses_know_nothing_of_files_or_parameters(area):
    path = ROOT / "src/textbloom" / area
    for file in [*path.glob("*.py")] if path.is_dir() else [path.with_suffix(".py")]:
        names = {str(dep.relative_to(ROOT / "src/textbloom")) for dep in closure(file)}
        assert not names & {"params.py", "paths.py", "files.py", "tensors.py"}
