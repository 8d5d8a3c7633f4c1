"""docs/reference.md: every parameter with the stages that read it, and every number of metrics/eval.json.

`make reference` writes it from params.yaml, dvc.yaml and the table of `directions`; a test holds it to them.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from textbloom import config
from textbloom.core.files import write_text
from textbloom.report import directions

REFERENCE = Path("docs/reference.md")
HEAD = """# Reference: parameters and metrics

Made by `make reference` of `params.yaml`, `dvc.yaml` and the code; not edited by hand. A change of a parameter runs the
stages that read it, and those after them.
"""


def reference() -> str:
    """The whole page."""
    rows = ["\n## Parameters\n", "| key | default | meaning | read by |", "|---|---|---|---|", *_parameters()]
    rows += ["\n## Numbers of `metrics/eval.json`\n", "| name | meaning | |", "|---|---|---|"]
    rows += [f"| `{name}` | {entry.meaning} | {entry.kind.value} |" for name, entry in directions.MEASURES.items()]
    return HEAD + "\n".join(rows) + "\n"


def _parameters() -> Iterator[str]:
    document = YAML().load(config.PARAMS.read_text(encoding="utf-8"))
    readers = _readers()
    for section, values in document.items():
        nested = isinstance(values, dict)
        for key in values if nested else [section]:
            holder, name = (values, f"{section}.{key}") if nested else (document, key)
            comment = holder.ca.items[key][2].value.split("\n")[0].removeprefix("#").strip().replace("|", "\\|")
            stages = sorted(stage for stage, read in readers.items() if name in read or section in read)
            yield f"| `{name}` | `{_yaml(holder[key])}` | {comment} | {', '.join(stages) or 'no stage'} |"


def _readers() -> dict[str, list[str]]:
    """The parameters and sections that each stage lists."""
    stages: dict[str, Any] = YAML(typ="safe").load(config.PIPELINE.read_text(encoding="utf-8"))["stages"]
    return {name: stage.get("do", stage).get("params", []) for name, stage in stages.items()}


def _yaml(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(list(value)) if isinstance(value, list) else str(value)


if __name__ == "__main__":
    write_text(REFERENCE, reference())
