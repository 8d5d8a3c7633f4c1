"""The comment of a pull request: written once, renewed afterwards, and a stranger's artefact does no harm."""

import io
import json
import os
import stat
import sys
import zipfile
from pathlib import Path

import pytest

from textbloom.core.errors import UserError
from textbloom.report import comment

RUN = {"id": 7, "head_sha": "c" * 40}
PICTURE = f"![new samples](https://github.com/owner/flowers/blob/{'a' * 40}/plots/samples.png?raw=true)"
# Stands in for GitHub: answers from a folder, by the path asked for, and notes what is sent.
GH = f"""#!{sys.executable}
import pathlib, sys
path, options = sys.argv[2], sys.argv[3:]
here = pathlib.Path(__file__).parent
if "--method" in options:
    with open(here / "sent", "a") as file:
        file.write(options[1] + " " + path + " " + sys.stdin.read() + "\\n")
else:
    sys.stdout.buffer.write((here / path.split("?")[0].replace("/", "_")).read_bytes())
"""


def archive(**files: str | bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as opened:
        for name, data in files.items():
            opened.writestr(name.replace("_", "."), data)
    return buffer.getvalue()


class GitHub:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        program = folder / "gh"
        program.write_text(GH, encoding="utf-8")
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        self.answer("actions/runs/7/artifacts", {"artifacts": [{"id": 3, "size_in_bytes": 900}]})
        self.artefact(archive(report_md="all well", number="12\n"))
        self.answer("pulls/12", {"state": "open", "head": {"sha": RUN["head_sha"]}})
        self.answer("issues/12/comments", [[]])

    def answer(self, path: str, value: object) -> None:
        (self.folder / f"repos/owner/flowers/{path}".replace("/", "_")).write_text(json.dumps(value), encoding="utf-8")

    def artefact(self, data: bytes) -> None:
        (self.folder / "repos_owner_flowers_actions_artifacts_3_zip").write_bytes(data)

    def sent(self) -> list[str]:
        path = self.folder / "sent"
        return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


@pytest.fixture
def github(tmp_path, monkeypatch) -> GitHub:
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("GITHUB_SERVER_URL", raising=False)
    return GitHub(tmp_path)


def test_the_first_report_is_a_new_comment_with_the_marker(github):
    comment.post(RUN, "owner/flowers")
    (sent,) = github.sent()
    assert sent.startswith("POST repos/owner/flowers/issues/12/comments ")
    assert json.loads(sent.split(" ", 2)[2])["body"] == f"{comment.MARKER}\nall well"


def test_a_later_report_renews_our_comment_and_no_other(github):
    body = f"{comment.MARKER}\nold"
    github.answer("issues/12/comments", [
        [{"id": 1, "user": {"login": "somebody"}, "body": body}],
        [{"id": 2, "user": {"login": comment.AUTHOR}, "body": "of another workflow"},
         {"id": 3, "user": {"login": comment.AUTHOR}, "body": body}],
    ])  # fmt: skip
    comment.post(RUN, "owner/flowers")
    (sent,) = github.sent()
    assert sent.startswith("PATCH repos/owner/flowers/issues/comments/3 ")


def test_a_run_without_a_report_posts_nothing(github):
    github.answer("actions/runs/7/artifacts", {"artifacts": []})
    comment.post(RUN, "owner/flowers")
    assert github.sent() == []


@pytest.mark.parametrize("pull", [{"state": "open", "head": {"sha": "d" * 40}},
                                  {"state": "closed", "head": {"sha": RUN["head_sha"]}}])  # fmt: skip
def test_a_pull_request_that_the_run_does_not_belong_to_gets_nothing(github, pull):
    github.answer("pulls/12", pull)
    with pytest.raises(UserError, match="nothing posted"):
        comment.post(RUN, "owner/flowers")
    assert github.sent() == []


@pytest.mark.parametrize("number", ["0", "-1", "1e3", "12/../../13", "12 13", "", "١٢"])
def test_what_is_no_number_is_refused(github, number):
    github.artefact(archive(report_md="all well", number=number))
    with pytest.raises(UserError, match=r"expected the number of a pull request|more than 10 bytes"):
        comment.post(RUN, "owner/flowers")
    assert github.sent() == []


def test_a_large_artefact_is_not_even_fetched(github):
    github.answer("actions/runs/7/artifacts", {"artifacts": [{"id": 3, "size_in_bytes": comment.ARCHIVE_LIMIT + 1}]})
    (github.folder / "repos_owner_flowers_actions_artifacts_3_zip").unlink()
    with pytest.raises(UserError, match="not taken"):
        comment.post(RUN, "owner/flowers")


def link(name: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as opened:
        entry = zipfile.ZipInfo(name)
        entry.external_attr = (stat.S_IFLNK | 0o777) << 16
        opened.writestr(entry, "/etc/passwd")
        opened.writestr("number", "12")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (link("report.md"), "no plain file"),
        (archive(report_md="x", **{"../number": "1"}), "nothing else"),
        (archive(report_md="x", **{"/etc/number": "1"}), "nothing else"),
        (archive(report_md="x", number="1", **{"run.sh": "rm"}), "nothing else"),
        (archive(number="1"), "nothing else"),
        (archive(report_md="x" * 60_001, number="1"), "more than 60000 bytes"),
        (archive(report_md=b"\0" * 50_000_000, number="1"), "more than 60000 bytes"),
        (archive(report_md=b"\xff\xfe", number="1"), "no archive of two texts"),
        (b"no archive", "no archive of two texts"),
        (archive(report_md="x", number="1")[:-30], "no archive of two texts"),
    ],
    ids=["link", "up", "absolute", "more", "less", "large", "bomb", "bytes", "junk", "cut"],
)
def test_an_artefact_that_is_not_two_small_plain_files_is_refused(data, said):
    with pytest.raises(UserError, match=said):
        comment.contents(data)


def test_of_two_files_of_one_name_none_is_taken():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as opened:
        opened.writestr("number", "1")
        with pytest.warns(UserWarning, match="Duplicate"):
            opened.writestr("number", "2")
        opened.writestr("report.md", "x")
    with pytest.raises(UserError, match="nothing else"):
        comment.contents(buffer.getvalue())


def test_this_repositorys_pictures_stay_and_nothing_else_is_live():
    text = f"| {PICTURE} | {PICTURE} |"
    assert comment.harmless(text, "owner/flowers") == text
    for hostile in [
        "@everyone", "<img src=x>", "<!-- x -->", "[a](//evil.org)", "![a](https://evil.org/a.png)", "[a]: b",
        "https://evil.org", "WWW.evil.org", "[a][b]", PICTURE.replace("owner", "evil"), PICTURE.replace("plots", ".."),
        PICTURE.replace("?raw=true", "?raw=true&x=https://evil.org"),
    ]:  # fmt: skip
        made = comment.harmless(hostile, "owner/flowers")
        assert made != hostile and made.replace("\u200b", "") == hostile
        for live in ("@e", "<i", "<!", "](", "]:", "][", "://", "WWW."):
            assert live not in made
