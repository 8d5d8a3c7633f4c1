"""Post the report of a pull request as its one comment: the half of the review that has the right to write.

The first workflow runs the pull request's own code, so it has no rights, and its artefact may hold anything. This
program runs afterwards, with the main branch's code, and takes the artefact for the file of a stranger. It is
never unpacked, and nothing in it is run. It must hold two small plain files and no other; of its text only the pictures
of this repository stay live; the pull request that it names must be the one that the run belongs to. Needs only Python
and `gh`, which every GitHub runner has.
"""

import io
import json
import os
import re
import stat
import subprocess
import zipfile
from pathlib import Path
from typing import Any

from textbloom.core import errors
from textbloom.core.errors import UserError

ARTEFACT = "pr-report"
LIMITS = {"report.md": 60_000, "number": 10}  # bytes; GitHub takes comments of 65,536 characters
ARCHIVE_LIMIT = 100_000  # bytes
MARKER = "<!-- textbloom: results of this pull request -->"
AUTHOR = "github-actions[bot]"

_MARKUP = re.compile(r"(?<=\])(?=[(\[:])|(?<=:)(?=//)|(?<=www)(?=\.)|(?<=[<@])", re.IGNORECASE)


def main() -> None:
    event = json.loads(Path(os.environ["GITHUB_EVENT_PATH"]).read_text(encoding="utf-8"))
    errors.run(lambda: post(event["workflow_run"], os.environ["GITHUB_REPOSITORY"]))


def post(run: dict[str, Any], repository: str) -> None:
    """Write or renew the comment that belongs to a finished run (GitHub's description of it)."""
    listed = json.loads(_gh(f"repos/{repository}/actions/runs/{run['id']}/artifacts?name={ARTEFACT}"))["artifacts"]
    if not listed:
        print("the run left no report: nothing to post")
        return
    if listed[0]["size_in_bytes"] > ARCHIVE_LIMIT:
        raise UserError(f"the artefact is of {listed[0]['size_in_bytes']} bytes, more than {ARCHIVE_LIMIT}: not taken")
    files = contents(_gh(f"repos/{repository}/actions/artifacts/{listed[0]['id']}/zip"))
    text = harmless(files["report.md"], repository)
    number = _checked_number(files["number"], run, repository)

    body = json.dumps({"body": f"{MARKER}\n{text}"}).encode()
    comments = json.loads(_gh(f"repos/{repository}/issues/{number}/comments?per_page=100", "--paginate", "--slurp"))
    # Anybody can write the marker into a comment of theirs.
    ours = [one["id"] for page in comments for one in page if one["user"]["login"] == AUTHOR and MARKER in one["body"]]
    if ours:
        _gh(f"repos/{repository}/issues/comments/{ours[0]}", "--method", "PATCH", "--input", "-", body=body)
    else:
        _gh(f"repos/{repository}/issues/{number}/comments", "--method", "POST", "--input", "-", body=body)
    print(f"{'renewed' if ours else 'wrote'} the comment of pull request {number}")


def contents(archive: bytes) -> dict[str, str]:
    """The two texts of an artefact. Raises UserError for any other name, a link, a large file or what is no text."""
    try:
        with zipfile.ZipFile(io.BytesIO(archive)) as opened:
            entries = opened.infolist()
            if sorted(entry.filename for entry in entries) != sorted(LIMITS):
                raise UserError(f"the artefact must hold {' and '.join(LIMITS)}, no folder and nothing else: not taken")
            found = {}
            for entry in entries:
                if stat.S_IFMT(entry.external_attr >> 16) not in (0, stat.S_IFREG):
                    raise UserError(f"{entry.filename} is no plain file: not taken")
                with opened.open(entry) as file:  # the size that an archive claims need not be true
                    data = file.read(LIMITS[entry.filename] + 1)
                if len(data) > LIMITS[entry.filename]:
                    raise UserError(f"{entry.filename} is of more than {LIMITS[entry.filename]} bytes: not taken")
                found[entry.filename] = data.decode("utf-8")
            return found
    except (zipfile.BadZipFile, UnicodeDecodeError, RuntimeError, NotImplementedError, EOFError) as error:
        raise UserError(f"the artefact is no archive of two texts ({error}): not taken") from None


def harmless(text: str, repository: str) -> str:
    """The text with its pictures of this repository; every other link, mention or HTML in it shows as plain text."""
    server = os.environ.get("GITHUB_SERVER_URL", "https://github.com")
    commits = f"{re.escape(server)}/{re.escape(repository)}/blob/[0-9a-f]{{40}}"
    pieces = re.split(rf"(!\[[\w ]*\]\({commits}/[\w/-]+\.png\?raw=true\))", text)
    # A space of no width between the two characters that would make Markdown see more than text.
    pieces[::2] = [_MARKUP.sub("\u200b", piece) for piece in pieces[::2]]
    return "".join(pieces)


def _checked_number(text: str, run: dict[str, Any], repository: str) -> int:
    """The pull request's number, if GitHub says that the run was of its present commit."""
    if not re.fullmatch(r"[1-9][0-9]{0,8}\n?", text):
        raise UserError(f"number: expected the number of a pull request, got {text!r}: not taken")
    pull = json.loads(_gh(f"repos/{repository}/pulls/{int(text)}"))
    if pull["state"] != "open" or pull["head"]["sha"] != run["head_sha"]:
        raise UserError(f"pull request {int(text)} is closed, or is not of commit {run['head_sha']}: nothing posted")
    return int(text)


def _gh(path: str, *options: str, body: bytes | None = None) -> bytes:
    done = subprocess.run(["gh", "api", path, *options], input=body, capture_output=True, check=False)
    if done.returncode:
        raise UserError(f"gh api {path}: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout


if __name__ == "__main__":
    main()
