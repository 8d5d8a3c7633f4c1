"""What docs/architecture.md says in blocks, applied to a copy of the project."""

import re
from dataclasses import dataclass
from pathlib import Path

from support.dvc_project import ROOT

PAGE = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
_NAMED = re.compile(r"(New file )?`([^`]+)`")


@dataclass(frozen=True)
class Edit:
    """One block of the page: the whole of a new file, or lines of one that exists, with + and - before some."""

    path: str
    new_file: bool
    text: str

    def apply(self, folder: Path) -> None:
        path = folder / self.path
        if self.new_file:
            assert not path.exists(), f"the page says that {self.path} is new"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(self.text, encoding="utf-8")
            return
        lines = self.text.splitlines()
        before, after = ([line[1:] for line in lines if line[0] in signs] for signs in (" -", " +"))
        text = path.read_text(encoding="utf-8").splitlines()
        places = [i for i in range(len(text)) if text[i : i + len(before)] == before]
        assert len(places) == 1, (
            f"docs/architecture.md and {self.path} differ: these lines are not in it once: {before}"
        )
        text[places[0] : places[0] + len(before)] = after
        path.write_text("\n".join(text) + "\n", encoding="utf-8")


def section(title: str) -> str:
    """The text under a heading, up to the next one of its level or above it."""
    # The # of comments inside blocks is out of the way of headings.
    page = re.sub(r"^```.*?^```", lambda block: block[0].replace("#", "\0"), PAGE, flags=re.M | re.S)
    heading = re.search(rf"^(#+) {re.escape(title)}\n", page, re.M)
    assert heading, f"docs/architecture.md has no heading {title!r}"
    return re.split(rf"^#{{1,{len(heading[1])}}} ", page[heading.end() :], flags=re.M)[0].replace("\0", "#")


def edits(title: str) -> list[Edit]:
    """The blocks of a section in order, each for the file that the paragraph before it begins with."""
    found: list[Edit] = []
    path, new_file = "", False
    parts = re.split(r"^```(\w*)\n(.*?)^```\n", section(title), flags=re.M | re.S)
    for prose, language, block in zip(parts[::3], parts[1::3], parts[2::3], strict=False):
        for paragraph in prose.split("\n\n"):
            if named := _NAMED.match(paragraph.strip()):
                path, new_file = named[2], bool(named[1])
        assert (language == "diff") != new_file, f"a block of {path}: is the file new or not?"
        found.append(Edit(path, new_file, block))
    return found


def apply(title: str, folder: Path) -> list[str]:
    """Apply all blocks of a section to the project in `folder`; returns the paths that they touch."""
    for edit in edits(title):
        edit.apply(folder)
    return sorted({edit.path for edit in edits(title)})


def tree() -> list[str]:
    """The files of the page's tree, relative to src/textbloom; every line must say what its file is for."""
    above: list[str] = []
    files = []
    for line in section("Every file").splitlines():
        if not (found := re.fullmatch(r"( +)(\S+)(?: {2,}(\S.*))?", line)):
            continue
        depth = len(found[1]) // 2 - 1
        above = above[:depth]
        if found[2].endswith("/"):
            above.append(found[2])
        else:
            assert found[3], f"docs/architecture.md does not say what {found[2]} is for"
            files.append("".join(above) + found[2])
    return files
