"""Files replaced whole: what is on the disk after a write or a failure, what waits in memory."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest

from sidecar import durable
from sidecar.durable import TEMPORARY, open_once, replace_file


def test_a_large_file_reaches_the_disk_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(durable, "PIECE_BYTES", 1 << 16)
    on_disk: list[int] = []
    synced = os.fdatasync

    def noted(number: int) -> None:
        synced(number)
        on_disk.append(os.fstat(number).st_size)

    monkeypatch.setattr(os, "fdatasync", noted)
    arrays = {name: np.arange(20_000.0) + k for k, name in enumerate("abcd")}
    replace_file(tmp_path / "state", lambda file: np.savez(file, **arrays))

    waited = np.diff([0, *on_disk, (tmp_path / "state").stat().st_size])
    assert len(on_disk) >= len(arrays)
    assert waited.max() < arrays["a"].nbytes + (1 << 16)
    with np.load(tmp_path / "state") as read:
        assert all(np.array_equal(read[name], array) for name, array in arrays.items())


def test_a_large_file_leaves_memory_in_pieces_as_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(durable, "PIECE_BYTES", 1 << 16)
    dropped: list[int] = []
    monkeypatch.setattr(
        os, "posix_fadvise", lambda number, *_: dropped.append(os.lseek(number, 0, os.SEEK_CUR))
    )
    wanted = np.arange(80_000.0)
    np.savez(tmp_path / "state.npz", wanted=wanted)
    with open_once(tmp_path / "state.npz") as file, np.load(file) as read:
        assert np.array_equal(read["wanted"], wanted)
    assert len(dropped) > 2
    assert np.diff([0, *dropped]).max() < wanted.nbytes / 2


def test_where_nothing_can_be_dropped_from_memory_it_is_written_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(durable, "PIECE_BYTES", 1)
    monkeypatch.delattr(os, "posix_fadvise")
    replace_file(tmp_path / "state", lambda file: file.write(b"new"))
    with open_once(tmp_path / "state") as file:
        assert file.read() == b"new"


def test_a_write_that_fails_leaves_the_old_file_alone(tmp_path: Path) -> None:
    (tmp_path / "state").write_bytes(b"old")

    def half(file: BinaryIO) -> None:
        file.write(b"ne")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        replace_file(tmp_path / "state", half)
    assert (tmp_path / "state").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir() if path.name.endswith(TEMPORARY)] == []
