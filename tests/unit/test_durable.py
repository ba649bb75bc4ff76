"""Files replaced whole: what is on the disk after a write or a failure, what waits in memory."""

from __future__ import annotations

import errno
import io
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest

from sidecar import durable
from sidecar.durable import TEMPORARY, UNREADABLE, open_once, replace_file, why_unreadable, write_named


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


def test_whatever_a_write_raises_nothing_is_left_beside_the_file(tmp_path: Path) -> None:
    (tmp_path / "state").write_bytes(b"old")

    def odd(file: BinaryIO) -> None:
        file.write(b"half")
        raise ValueError("no such colour")

    with pytest.raises(ValueError, match="colour"):
        replace_file(tmp_path / "state", odd)
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [("state", b"old")]


def test_a_failure_names_the_file_and_not_the_one_beside_it(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        replace_file(tmp_path / "gone" / "a", lambda file: None)
    assert caught.value.filename == str(tmp_path / "gone" / "a")


def test_an_output_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    """Through a link, with the mode that the file had."""
    place, link = tmp_path / "a.yaml", tmp_path / "link.yaml"
    place.write_text("old")
    place.chmod(0o640)
    link.symlink_to(place)

    def breaks_off(file: BinaryIO) -> None:
        file.write(b"ne")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(OSError, match=r"No space left on device: .*a\.yaml"):
        write_named(link, breaks_off)
    assert place.read_text() == "old"
    write_named(link, lambda file: file.write(b"new"))
    assert link.is_symlink()
    assert place.read_text() == "new"
    assert place.stat().st_mode & 0o777 == 0o640
    assert sorted(tmp_path.iterdir()) == [place, link]


def test_a_new_output_has_the_mode_that_the_user_s_mask_leaves(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_named(tmp_path / "a", lambda file: file.write(b"x"))
        assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640
        assert os.umask(0o027) == 0o027
    finally:
        os.umask(before)


def test_a_pipe_stays_one(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with ThreadPoolExecutor(1) as reader:
        read = reader.submit((tmp_path / "pipe").read_bytes)
        write_named(tmp_path / "pipe", lambda file: file.write(b"x"))
        assert read.result(10) == b"x"
    assert (tmp_path / "pipe").is_fifo()


def an_archive(of: slice, damage: bytes) -> bytes:
    archive = io.BytesIO()
    np.savez(archive, tail=np.arange(100.0))
    content = bytearray(archive.getvalue())
    content[of] = damage
    return bytes(content)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        pytest.param(b"", "it is empty", id="of no length"),
        pytest.param(b"something else", "it is damaged", id="not ours"),
        pytest.param(an_archive(slice(300, None), b""), "it is damaged", id="cut short"),
        pytest.param(an_archive(slice(400, 420), b"?" * 20), "it is damaged", id="another content"),
        pytest.param(
            # 10 bytes into the last directory entry, which begins 76 bytes from the end.
            an_archive(slice(-66, -64), b"ab"),
            "it is damaged",
            id="a compression that nobody knows",
        ),
    ],
)
def test_a_damaged_file_is_told_of_in_words_of_ours(tmp_path: Path, content: bytes, words: str) -> None:
    file = tmp_path / "state"
    file.write_bytes(content)
    with pytest.raises(UNREADABLE) as found, open_once(file) as raw:
        np.load(raw, allow_pickle=False)["tail"]
    assert why_unreadable(found.value).startswith(words)


def test_a_file_that_may_not_be_read_says_so() -> None:
    assert why_unreadable(PermissionError(errno.EACCES, "Permission denied")) == "Permission denied"


def test_a_file_is_on_the_disk_before_it_takes_its_place_and_its_name_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power cut in between leaves the old file or the new one, never an empty one."""
    done: list[tuple[str, bool | bytes]] = []
    sync, replace = os.fsync, os.replace

    def synced(number: int) -> None:
        place = Path(f"/proc/self/fd/{number}")
        done.append(("sync", True) if place.is_dir() else ("sync", place.read_bytes()))
        sync(number)

    def replaced(one: Path, other: Path) -> None:
        done.append(("replace", True))
        replace(one, other)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", replaced)
    replace_file(tmp_path / "a", lambda file: file.write(b"new"))
    assert done == [("sync", b"new"), ("replace", True), ("sync", True)]
