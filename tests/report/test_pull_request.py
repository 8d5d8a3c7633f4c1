"""The review of a pull request says what changed and which way is better, and fails where it must."""

import pytest

from textbloom.core.errors import UserError
from textbloom.report import pull_request

REPORT = "build/pr-report/report.md"


def rows(project) -> list[list[str]]:
    """The cells of all tables of the report."""
    lines = project.text(REPORT).splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]


def test_a_changed_parameter_its_metrics_and_its_pictures_stand_beside_the_old_ones(project):
    project.branch(lr=0.005)
    project.report("pull_request", "--base", "main")
    assert ["`train.lr`", "0.01", "0.005"] in rows(project)
    assert ["`frechet_distance`", "110", "105", "-5", "▲ better"] in rows(project)
    assert ["`retrieval_at_10`", "0.99", "0.995", "+0.005", "▲ better"] in rows(project)
    assert ["`retrieval_at_10_real`", "1", "1", "", ""] in rows(project)
    assert ["`n_fake`", "300", "300", "", ""] in rows(project)
    assert ["`loss_generator`", "0.01", "0.005", "-0.005"] in rows(project)
    assert "✅" in project.text(REPORT) and "❌" not in project.text(REPORT)
    for side in ("old", "new"):
        assert f"]({side}/samples.png)" in project.text(REPORT)
    old, new = ((project.folder / f"build/pr-report/{side}/samples.png").read_bytes() for side in ("old", "new"))
    assert old != new == (project.folder / "plots/samples.png").read_bytes()


def test_a_fall_beyond_its_tolerance_fails_after_the_report_is_written(project):
    project.branch(lr=0.03)
    said = project.report("pull_request", succeeds=False)
    assert "error: frechet_distance got worse from 110 to 130, by more than the 10%" in said
    assert "- ❌ `frechet_distance` got worse" in project.text(REPORT)
    assert "retrieval_at_10` got worse" not in project.text(REPORT)
    assert ["`retrieval_at_10`", "0.99", "0.97", "-0.02", "▼ worse"] in rows(project)


def test_a_forgotten_rebuild_fails_and_names_the_stage(project):
    project.branch(lr=0.012, build=False)
    said = project.report("pull_request", succeeds=False)
    assert "stage train would run again" in said and "run make repro, commit its changes" in said


def test_a_shallow_clone_compares_with_a_branch_that_was_just_fetched(project, tmp_path):
    project.branch(lr=0.03, build=False)
    project.run("dvc", "repro", "-q")
    project.commit("built")
    clone = type(project)(tmp_path / "clone")
    project.run("git", "clone", "-q", "--depth", "1", "-b", "faster", f"file://{project.folder}", f"{clone.folder}")
    said = clone.report("pull_request", "--base", "main", succeeds=False)
    assert "git fetch --depth 1 origin main" in said
    clone.run("git", "fetch", "-q", "--depth", "1", "origin", "main")
    said = clone.report("pull_request", "--base", "main", succeeds=False)
    assert "frechet_distance got worse" in said and "would run again" not in said
    assert "| `train.lr` | 0.01 | 0.03 |" in clone.text(REPORT)


def test_on_github_the_pictures_are_links_to_both_commits_and_the_summary_has_the_text(project):
    """As in the workflow: the merge of the branch is checked out, its parents are the base and the head."""
    project.branch(lr=0.012)
    project.run("git", "checkout", "-q", "--detach", "main")
    project.run("git", "merge", "-q", "--no-ff", "--no-edit", "faster")
    base, head = (project.run("git", "rev-parse", name).strip() for name in ("main", "faster"))
    project.report("pull_request", "--base", "HEAD^1", "--head", "HEAD^2",
                   GITHUB_REPOSITORY="owner/flowers", GITHUB_STEP_SUMMARY="build/summary.md")  # fmt: skip
    for side, commit in (("old", base), ("new", head)):
        link = f"https://github.com/owner/flowers/blob/{commit}/plots/samples.png?raw=true"
        assert f"![{side} samples]({link})" in project.text(REPORT)
    assert project.text("build/summary.md") == project.text(REPORT)


def test_values_measured_under_other_conditions_are_not_compared(project):
    project.run("git", "checkout", "-q", "-b", "other-judge")
    script = project.folder / "train.py"
    script.write_text(script.read_text(encoding="utf-8").replace('"lite"', '"inception"').replace("100 +", "900 +"))
    project.run("dvc", "repro", "-q")
    project.commit("another judge")
    project.report("pull_request")
    assert ["`frechet_distance`", "110", "910", "+800", ""] in rows(project)
    assert "Measured differently (`extractor`)" in project.text(REPORT)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("frechet: 1", "frechet: no metric with a better and a worse side"),
        ("seed: 1", "seed: no metric"),
        ("recall: -1", "expected a number >= 0"),
        ("recall: much", "expected a number >= 0"),
    ],
)
def test_a_wrong_tolerance_is_one_line(tmp_path, text, said):
    path = tmp_path / "tolerances.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=said):
        pull_request.tolerances(path)


def test_a_tolerance_is_a_number_or_a_share_and_counts_only_worse():
    def fails(limit, old, new, name="recall"):
        return bool(pull_request.beyond_tolerance({name: old}, {name: new}, {name: limit}))

    assert not fails(0.1, 0.5, 0.4) and fails(0.1, 0.5, 0.39)
    assert not fails("20%", 0.5, 0.4) and fails("20%", 0.5, 0.39)
    assert not fails(0, 0.5, 0.9)
    assert fails("5%", 100, 106, "frechet_distance") and not fails("5%", 100, 50, "frechet_distance")
    assert fails(0.1, 0.5, None) and not fails(0.1, None, 0.5)


def test_no_value_breaks_out_of_its_cell():
    assert pull_request.code("a|b`c\n<img>") == "`a\\|b c img`"
    assert len(pull_request.code("x" * 500)) < 90


def test_the_projects_own_tolerances_are_read():
    assert "frechet_distance" in pull_request.tolerances()
