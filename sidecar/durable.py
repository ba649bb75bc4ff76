"""Files replaced whole or not at all, large ones gone through in pieces, damaged ones told of."""

from __future__ import annotations

import io
import os
import stat
import zipfile
import zlib
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

TEMPORARY = ".tmp"
"""Ending of the file beside; one that a killed process left may be removed."""
PIECE_BYTES = 32 << 20
"""What of a large file may be in memory at a time, beside what is made of it.

Linux counts the pages of a file as the container's memory, and where a machine hands out memory lazily each
new page is dear: 850 MB written at once took 2.6 s and in pieces 0.9 s, read 2.1 s and 0.8 s.
"""


UNREADABLE = (
    OSError,
    ValueError,
    LookupError,
    EOFError,
    zipfile.BadZipFile,
    zlib.error,
    RuntimeError,  # A damaged header may claim a password, or a compression that nobody knows.
    MemoryError,  # Or an array of any size.
)
"""What reading a file of arrays raises where it is damaged."""


def why_unreadable(error: Exception) -> str:
    """Why a file of arrays cannot be used; numpy's own words on a damaged one are about pickles and trust."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, EOFError):
        return "it is empty"
    return "it is damaged, or no file of pronoia's"


class _PiecewiseFile(io.FileIO):
    """A file gone through once: its bytes leave memory by the piece, those written are on the disk then."""

    _held = 0

    def write(self, data: ReadableBuffer, /) -> int:
        written = super().write(data)
        self._hold(written, os.fdatasync)
        return written

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        read = super().readinto(buffer)
        self._hold(read)
        return read

    def _hold(self, n_bytes: int, before: Callable[[int], object] = lambda _: None) -> None:
        self._held += n_bytes
        if self._held >= PIECE_BYTES and hasattr(os, "posix_fadvise"):
            before(self.fileno())
            os.posix_fadvise(self.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            self._held = 0


def open_once(path: Path) -> BinaryIO:
    """A file opened to be read once, from its beginning to its end. Raises: OSError."""
    return io.BufferedReader(_PiecewiseFile(path, "rb"))


def replace_file(path: Path, write: Callable[[BinaryIO], object], *, mode: int = 0o600) -> None:
    """Replace `path` by what `write` puts into a file, durably (fsync of the file and of its folder).

    Raises: OSError and what `write` raises, and then `path` is as it was and nothing is left beside it.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}{TEMPORARY}")
    try:
        with ExitStack() as failing:
            failing.callback(temporary.unlink, missing_ok=True)
            with io.BufferedWriter(_PiecewiseFile(temporary, "wb")) as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            temporary.chmod(mode)
            os.replace(temporary, path)
            failing.pop_all()
    except OSError as error:
        if error.errno is None:
            raise
        # Whoever reads of it knows the file's name, not that of what stands beside it.
        raise OSError(error.errno, error.strerror, str(path)) from error
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def write_named(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Have `write` fill the file that somebody named as an output: whole, or it is as it was.

    A link stays one, a file keeps its mode; into a pipe or a device is written as it comes.

    Raises: OSError.
    """
    place = Path(os.path.realpath(path))
    # What is named by its descriptor (/dev/stdout) is not to be replaced, whatever it is.
    if path.is_relative_to("/dev") or (place.exists() and not place.is_file()):
        with path.open("wb") as file:
            write(file)
        return
    if place.exists():
        mode = stat.S_IMODE(place.stat().st_mode)
    else:
        mask = os.umask(0o077)
        os.umask(mask)
        mode = 0o666 & ~mask
    replace_file(place, write, mode=mode)
