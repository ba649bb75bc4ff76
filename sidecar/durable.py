"""Files that are replaced whole or not at all: written beside, synced, renamed."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

TEMPORARY = ".tmp"
"""Ending of the file beside; one that a killed process left may be removed."""


def replace_file(path: Path, write: Callable[[BinaryIO], object], *, mode: int = 0o600) -> None:
    """Replace `path` by what `write` puts into a file, durably (fsync of the file and of its folder).

    Raises: OSError, and then `path` is as it was and nothing is left beside it.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}{TEMPORARY}")
    try:
        with temporary.open("wb") as file:
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
