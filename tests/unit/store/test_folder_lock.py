"""A data folder has one owner at a time."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

import pytest

from sidecar.errors import StoreError
from sidecar.store.folder_lock import FILE, FolderLock


def test_a_second_owner_is_refused_until_the_first_lets_go(tmp_path: Path) -> None:
    first, second = FolderLock(tmp_path / "new"), FolderLock(tmp_path / "new")
    first.take()
    with pytest.raises(StoreError, match=f"used by another pronoia, process {os.getpid()}"):
        second.take()
    first.release()
    first.release()
    second.take()
    second.release()


def test_what_a_dead_process_left_behind_is_no_lock(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text("4000000\n")
    one = FolderLock(tmp_path)
    one.take()
    assert (tmp_path / FILE).read_text() == f"{os.getpid()}\n"
    one.release()


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be used"):
        FolderLock(tmp_path / "file" / "data").take()


def test_a_file_system_without_locks_is_used_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, "no locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    FolderLock(tmp_path).take()
