"""The review in docs/pull-requests.md is of today: its metrics are those that evaluation writes."""

import json
import re

from support.dvc_project import ROOT


def test_the_metrics_of_the_example_are_those_of_metrics_eval_json():
    page = (ROOT / "docs/pull-requests.md").read_text(encoding="utf-8")
    table = page.split("#### Metrics")[1].split("####")[0]
    named = set(re.findall(r"^\| `(\w+)` \|", table, re.M))
    assert len(named) > 20
    assert named <= set(json.loads((ROOT / "metrics/eval.json").read_text(encoding="utf-8")))
