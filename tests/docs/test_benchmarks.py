"""The benchmarks that the Makefile runs are there, and know the options that it gives them."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")


def test_make_bench_runs_scripts_by_options_that_they_have():
    commands = re.findall(r"python benchmarks/(\w+)\.py ([^;\n]*)", MAKEFILE)
    assert len(commands) >= 5
    for name, arguments in commands:
        script = (ROOT / "benchmarks" / f"{name}.py").read_text(encoding="utf-8")
        options = re.findall(r"--[a-z-]+", arguments)
        assert options and all(f'"{option}"' in script for option in options)


def test_make_bench_full_runs_all_that_its_readme_says():
    (listed,) = re.findall(r"for what in ([\w ]+);", MAKEFILE)
    said = (ROOT / "benchmarks/README.md").read_text(encoding="utf-8").replace("\n", " ")
    assert f"runs all of {', '.join(listed.split()[:-1])} and {listed.split()[-1]}" in said
    assert all((ROOT / "benchmarks" / f"{name}.py").is_file() for name in listed.split())
