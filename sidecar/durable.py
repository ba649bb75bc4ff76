"""Files that are replaced whole or not at all: written beside, synced, renamed."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

TEMPORARY = ".tmp"
"""Ending of the file beside; one that a killed process left may be removed."""
PIECE_BYTES = 32 << 20
"""What of a large file may wait in memory for the disk.

Linux counts the pages of a file being written as the container's memory, and where a machine hands
out memory lazily each new page is dear: 850 MB written at once took 2.6 s, in pieces 0.9 s.
"""


class _PiecewiseFile(io.FileIO):
    """A file whose bytes are on the disk, and out of memory, a piece at a time."""

    _waiting = 0

    def write(self, data: ReadableBuffer, /) -> int:
        written = super().write(data)
        self._waiting += written
        if self._waiting >= PIECE_BYTES and hasattr(os, "posix_fadvise"):
            os.fdatasync(self.fileno())
            os.posix_fadvise(self.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            self._waiting = 0
        return written


def replace_file(path: Path, write: Callable[[BinaryIO], object], *, mode: int = 0o600) -> None:
    """Replace `path` by what `write` puts into a file, durably (fsync of the file and of its folder).

    Raises: OSError, and then `path` is as it was and nothing is left beside it.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}{TEMPORARY}")
    try:
        with io.BufferedWriter(_PiecewiseFile(temporary, "wb")) as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(mode)
        os.replace(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
