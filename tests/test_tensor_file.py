"""A tensor file written by rows is the file that would be written at once, or none."""

import errno
import os
import pickle
from collections import namedtuple

import numpy as np
import pytest
import torch

from textbloom.core import tensor_file
from textbloom.core.errors import UserError
from textbloom.core.tensors import load_tensors, save_tensors

Usage = namedtuple("Usage", "total used free")


@pytest.mark.parametrize("shape", [(1, 3, 4, 4), (7, 3, 8, 8), (12345, 1), (3, 5), (1, 2, 3, 4, 5), (0, 3, 8, 8)])
def test_the_bytes_and_the_rights_are_those_of_save_tensors(shape, tmp_path):
    values = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    save_tensors(tmp_path / "a", {"images": torch.from_numpy(values)})
    with tensor_file.writing_rows(tmp_path / "b", "images", shape) as rows:
        for row in reversed(range(shape[0])):
            pickle.loads(pickle.dumps(rows)).write(row, values[row])
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "b").stat().st_mode


def test_rows_of_any_memory_order_are_written_as_they_read(tmp_path):
    values = np.random.default_rng(0).integers(0, 256, (2, 5, 4, 3), dtype=np.uint8)
    with tensor_file.writing_rows(tmp_path / "a", "images", (2, 3, 5, 4)) as rows:
        for row in range(2):
            rows.write(row, values[row].transpose(2, 0, 1))
    expected = torch.from_numpy(values.transpose(0, 3, 1, 2).copy())
    assert torch.equal(load_tensors(tmp_path / "a")["images"], expected)


def write(path, content: int) -> None:
    with tensor_file.writing_rows(path, "images", (4, 10)) as rows:
        for row in range(4):
            rows.write(row, np.full(10, content, dtype=np.uint8))


def test_the_file_appears_under_its_name_only_when_it_is_whole(tmp_path):
    def fail() -> None:
        with tensor_file.writing_rows(tmp_path / "a", "images", (4, 10)) as rows:
            rows.write(0, np.zeros(10, dtype=np.uint8))
            assert load_tensors(tmp_path / "a")["images"].unique().tolist() == [1]
            raise RuntimeError

    write(tmp_path / "a", 1)
    with pytest.raises(RuntimeError):
        fail()
    assert load_tensors(tmp_path / "a")["images"].unique().tolist() == [1]
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def full_by_count(monkeypatch) -> None:
    monkeypatch.setattr(tensor_file.shutil, "disk_usage", lambda path: Usage(100, 71, 29))


def full_when_claimed(monkeypatch) -> None:
    def refuse(*args: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", refuse, raising=False)


@pytest.mark.parametrize("fill", [full_by_count, full_when_claimed])
def test_a_full_disk_shows_before_any_row_is_made(fill, tmp_path, monkeypatch):
    write(tmp_path / "a", 1)
    fill(monkeypatch)
    with pytest.raises(UserError, match=r"a needs .* GiB and its disk has .* free: free some space"):
        write(tmp_path / "a", 2)
    assert load_tensors(tmp_path / "a")["images"].unique().tolist() == [1]
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_file_system_that_reserves_nothing_is_written_all_the_same(tmp_path, monkeypatch):
    def unable(*args: int) -> None:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(os, "posix_fallocate", unable, raising=False)
    write(tmp_path / "a", 1)
    assert load_tensors(tmp_path / "a")["images"].tolist() == [[1] * 10] * 4
