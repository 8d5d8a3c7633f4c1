"""The HTML report: whole in one file, true to the files of the run, and several experiments side by side."""

import base64
import re

import pytest

from textbloom.report import page

REPORT = "build/report.html"


def rows(html: str) -> list[list[str]]:
    """The text of each table's cells."""
    found = re.findall(r"<tr>(.*?)</tr>", html, re.DOTALL)
    cells = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL) for row in found]
    return [[" ".join(re.sub(r"<[^>]+>", " ", cell).split()) for cell in row] for row in cells]


def test_the_run_stands_beside_the_committed_one_and_the_preset(project):
    params = project.folder / "params.yaml"
    params.write_text(project.text("params.yaml").replace("0.01", "0.02"), encoding="utf-8")
    project.run("dvc", "repro", "-q")
    project.report("page")
    html = project.text(REPORT)
    (distance,) = (row for row in rows(html) if row and row[0].startswith("frechet_distance"))
    assert distance[1:3] == ["110", "120 ▼"]
    (retrieval,) = (row for row in rows(html) if row and row[0].startswith("retrieval_at_10"))
    assert retrieval[1:] == ["0.99", "0.98 ▼", "–", "1", ""]
    assert "<b>0.02</b>" in html and "<b>2</b>" not in html  # only the learning rate differs from the preset
    assert "<code>discriminator</code>" in html and "<polyline" in html


def test_an_interval_stands_beside_the_value_that_has_one(project):
    (project.folder / "plots/intervals.csv").write_text("metric,value,low,high\nretrieval_at_10,0.99,0.97,0.998\n")
    project.report("page")
    (retrieval,) = (row for row in rows(project.text(REPORT)) if row and row[0].startswith("retrieval_at_10"))
    assert retrieval[3] == "0.97 to 0.998"


def test_what_each_stage_took_is_shown_and_the_versions_of_one_that_notes_them(project):
    folder = project.folder / "metrics/provenance"
    folder.mkdir()
    (folder / "captions.json").write_text('{"seconds": 75, "memory_mib": 321}')
    (folder / "train.json").write_text('{"seconds": 2.5, "memory_mib": 900, "versions": {"torch": "9.9"}}')
    project.report("page")
    html = project.text(REPORT)
    assert ["stage", "memory, MiB", "seconds"] in rows(html)
    assert ["captions", "321", "1 min 15 s"] in rows(html) and ["train", "900", "2.5 s"] in rows(html)
    assert "torch 9.9" in html


def test_the_file_holds_all_it_shows(project):
    project.report("page")
    html = project.text(REPORT)
    picture = base64.b64encode((project.folder / "plots/samples.png").read_bytes()).decode()
    assert f'src="data:image/png;base64,{picture}"' in html
    assert not re.search(r'(src|href)="(?!data:)|url\(|@import|<script|<link', html)


def test_experiments_stand_side_by_side_with_what_differs(project):
    for name, lr in (("slow", "0.002"), ("fast", "0.02")):
        project.run("dvc", "exp", "run", "-q", "--temp", "--name", name, "-S", f"train.lr={lr}")
    project.report("page", "slow", "fast", "workspace")
    html = project.text(REPORT)
    assert next(row for row in rows(html) if row and row[0] == "metric")[:4] == ["metric", "slow", "fast", "this run"]
    (distance,) = (row for row in rows(html) if row and row[0].startswith("frechet_distance"))
    assert distance[1:4] == ["102", "120 ▼", "110 ▼"]
    assert ["train.lr", "0.01", "0.002", "0.02", "0.01"] in rows(html)
    assert "All runs drew the same captions with the same noise." in html
    assert html.count('class="sheet"') == 3
    assert "no-such: neither a commit" in project.report("page", "no-such", succeeds=False)


def test_before_anything_was_made_the_page_says_so(project):
    project.run("git", "rm", "-rqf", "metrics", "plots", "dvc.lock")
    project.commit("nothing yet")
    project.report("page")
    assert "Nothing was measured yet." in project.text(REPORT)
    assert "No picture was made yet" in project.text(REPORT)


def test_what_a_file_says_is_text_and_never_markup(project):
    params = project.folder / "params.yaml"
    params.write_text(project.text("params.yaml") + "  name: <img src=x onerror=alert(1)>\n", encoding="utf-8")
    project.report("page")
    assert "&lt;img src=x" in project.text(REPORT) and "<img src=x" not in project.text(REPORT)


def test_a_curve_spans_its_square_and_a_broken_value_is_left_out():
    first = b"epoch,loss,off\n1,4,0\n2,nan,0\n3,2,0\n"
    second = b"epoch,loss,off,extra\n1,3,0,5\n2,2,0,5\n"
    loss, extra = page.curves([page.table_of(data) for data in (first, second, None)])
    assert (loss.name, loss.low, loss.high, loss.epochs) == ("loss", "2", "4", "3")
    assert loss.lines == [(0, "0.00,0.00 100.00,100.00", "2"), (1, "0.00,50.00 50.00,100.00", "2")]
    assert extra.name == "extra" and [run for run, _, _ in extra.lines] == [1]


def test_a_metrics_place_is_between_chance_and_best():
    (row,) = page.metric_rows([{"recall": 0.4, "recall_shuffled": 0.2, "recall_real": 0.6}], {"recall": [0.35, 0.45]})
    assert row.place == pytest.approx(0.5)
    assert (row.chance, row.best, row.interval) == ("0.2", "0.6", "0.35 to 0.45")


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.5, "0.5 s"), (59.4, "59.4 s"), (347, "5 min 47 s"), (3600, "60 min 0 s")]
)
def test_seconds_as_a_person_says_them(seconds, said):
    assert page.duration(seconds) == said
