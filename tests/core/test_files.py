"""A file is whole or absent, and equal content gives equal bytes."""

import errno
import json
import os
import signal
import subprocess
import sys

import pytest
import torch
from safetensors.torch import save_file
from support.pictures import POINTER

from textbloom.core import errors, files, tensors
from textbloom.core.errors import UserError


def test_a_failure_while_writing_keeps_the_earlier_file_and_leaves_nothing_behind(tmp_path):
    target = tmp_path / "table.csv"
    files.write_text(target, "earlier")

    def fail() -> None:
        with files.replacing(target) as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert target.read_text() == "earlier"
    assert [path.name for path in tmp_path.iterdir()] == ["table.csv"]


def test_a_folder_replaces_a_folder(tmp_path):
    target = tmp_path / "raw"
    for content in ("old", "new"):
        with files.replacing(target) as temporary:
            temporary.mkdir()
            (temporary / content).write_text(content)
    assert [path.name for path in target.iterdir()] == ["new"]


def test_content_is_on_the_disk_before_it_gets_its_name_and_the_name_before_it_counts(tmp_path, monkeypatch):
    flushed, replace = [], os.replace
    monkeypatch.setattr(os, "fsync", lambda descriptor: flushed.append(os.fstat(descriptor).st_ino))
    monkeypatch.setattr(os, "replace", lambda old, new: (flushed.append("renamed"), replace(old, new)))
    files.write_text(tmp_path / "table.csv", "whole")
    assert flushed == [(tmp_path / "table.csv").stat().st_ino, "renamed", tmp_path.stat().st_ino]
    flushed.clear()
    with files.replacing(tmp_path / "model") as temporary:
        temporary.mkdir()
        (temporary / "weights").write_text("all")
    folder = tmp_path / "model"
    inside = [(folder / "weights").stat().st_ino, folder.stat().st_ino]
    assert flushed == [*inside, "renamed", tmp_path.stat().st_ino]


def test_what_a_kill_left_behind_is_overwritten(tmp_path):
    (tmp_path / ".partial-table.csv").mkdir()
    files.write_text(tmp_path / "table.csv", "whole")
    assert [path.name for path in tmp_path.iterdir()] == ["table.csv"]


def test_json_is_sorted_and_refuses_what_is_no_number(tmp_path):
    files.write_json(tmp_path / "a.json", {"b": 1, "a": 2.5})
    files.write_json(tmp_path / "b.json", {"a": 2.5, "b": 1})
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    assert list(json.loads((tmp_path / "a.json").read_text())) == ["a", "b"]
    with pytest.raises(ValueError, match="JSON"):
        files.write_json(tmp_path / "a.json", {"a": float("nan")})
    assert json.loads((tmp_path / "a.json").read_text())["a"] == 2.5


def test_tensors_and_metadata_come_back_and_have_the_same_bytes_in_another_process(tmp_path):
    metadata = {"encoder": {"name": "x", "sha256": "y"}, "revision": "z", "numbers": [1, 2]}
    code = (
        "import torch; from pathlib import Path; from textbloom.core.tensors import save_tensors; "
        f"save_tensors(Path('b'), {{'one': torch.arange(6.).view(2, 3).t(), 'two': torch.ones(1)}}, {metadata!r})"
    )
    subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, check=True, env={"PYTHONPATH": ":".join(sys.path), "PATH": ""}
    )
    values = {"one": torch.arange(6.0).view(2, 3).t(), "two": torch.ones(1)}
    tensors.save_tensors(tmp_path / "a", values, metadata)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    loaded = tensors.load_tensors(tmp_path / "a")
    assert all(torch.equal(loaded[name], value) for name, value in values.items())
    assert tensors.load_metadata(tmp_path / "a") == metadata


def test_only_the_wanted_rows_of_a_tensor_come_back_in_their_order(tmp_path):
    images = torch.randint(0, 256, (50, 3, 8, 8), dtype=torch.uint8)
    tensors.save_tensors(tmp_path / "t", {"images": images})
    assert tensors.shape_of(tmp_path / "t", "images") == (50, 3, 8, 8)
    assert torch.equal(tensors.load_rows(tmp_path / "t", "images", [49, 0, 7]), images[[49, 0, 7]])


@pytest.mark.parametrize("spoil", ["missing", "cut", "noise"])
def test_a_missing_or_damaged_tensor_file_is_one_line(tmp_path, spoil):
    path = tmp_path / "weights.safetensors"
    tensors.save_tensors(path, {"w": torch.ones(100)})
    if spoil == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-50] if spoil == "cut" else b"\x80\x04noise" * 20)
    with pytest.raises(UserError, match=r"weights\.safetensors is (missing|damaged).*make repro"):
        tensors.load_tensors(path)


def test_whichever_bit_of_a_tensor_file_is_flipped_it_is_refused(tmp_path):
    tensors.save_tensors(tmp_path / "sound", {"w": torch.arange(3.0)}, {"epochs": [1, 2]})
    sound = (tmp_path / "sound").read_bytes()
    for bit in range(8 * len(sound)):
        damaged = bytearray(sound)
        damaged[bit // 8] ^= 1 << bit % 8
        path = tmp_path / str(bit)
        path.write_bytes(damaged)
        with pytest.raises(UserError, match="is damaged"):
            tensors.load_metadata(path), tensors.load_tensors(path)


def test_a_tensor_file_from_elsewhere_needs_no_checksum(tmp_path):
    path = tmp_path / "w.safetensors"
    for metadata in (None, {"format": "pt"}):
        save_file({"w": torch.ones(2)}, path, metadata=metadata)
        assert tensors.load_tensors(path)["w"].tolist() == [1, 1]
        path.unlink()


def raising(error: BaseException):
    def main() -> None:
        raise error

    return main


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (UserError("train.lr: expected\n a number"), "error: train.lr: expected a number"),
        (OSError(errno.ENOSPC, "No space left", "data/x"), "error: the disk is full while writing data/x: free"),
        (PermissionError(errno.EACCES, "Permission denied", "data/x"), "error: Permission denied at data/x: change"),
        (ConnectionResetError(errno.ECONNRESET, "Connection reset"), "error: Connection reset: see to it"),
        (TimeoutError("timed out"), "error: timed out: see to it"),
        (KeyboardInterrupt(), "interrupted"),
    ],
)
def test_failures_for_people_are_one_line_and_a_non_zero_exit(error, said):
    with pytest.raises(SystemExit) as stopped:
        errors.run(raising(error))
    assert str(stopped.value).startswith(said)
    assert "\n" not in str(stopped.value)


def test_a_reader_of_the_output_who_has_had_enough_is_no_failure():
    talk = "from textbloom.core import errors\nerrors.run(lambda: print('a flower\\n' * {lines}))"
    for lines in (1, 100_000):  # what is written at the end, and before it
        running = subprocess.Popen(
            [sys.executable, "-c", talk.format(lines=lines)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert running.stdout is not None
        running.stdout.close()
        assert running.communicate()[1] == ""
        assert running.returncode == 128 + signal.SIGPIPE


def test_a_fault_of_our_own_is_not_hidden():
    with pytest.raises(ZeroDivisionError):
        errors.run(raising(ZeroDivisionError()))


@pytest.mark.parametrize("read", [files.read_text, files.read_json, tensors.load_tensors, tensors.load_metadata])
def test_a_pointer_of_git_lfs_is_told_from_a_damaged_file(tmp_path, read):
    path = tmp_path / "generator.safetensors"
    path.write_bytes(POINTER)
    with pytest.raises(UserError, match=r"generator\.safetensors is only Git LFS's pointer .*: run `git lfs pull` in"):
        read(path)
