"""Whether the database's files are still the ones that were opened."""

from __future__ import annotations

from pathlib import Path

from sidecar.errors import StoreError


class Presence:
    """Knows the files of a database that is open, by their inodes.

    SQLite goes on writing into files that were deleted or replaced, and says that all is durable:
    what is acknowledged then is gone with the process.
    """

    def __init__(self, path: Path) -> None:
        files = (path, Path(f"{path}-wal"))
        self._opened = {file: _identity(file) for file in files}

    def check(self) -> None:
        """Raises: StoreError where a file is gone, or another one."""
        for file, opened in self._opened.items():
            found = _identity(file)
            if opened is None:
                self._opened[file] = found  # The log is made when it is first written to.
            elif found != opened:
                raise StoreError(f"{file} was deleted or replaced while it was in use; restart pronoia")


def _identity(file: Path) -> tuple[int, int] | None:
    try:
        stat = file.stat()
    except OSError:
        return None
    return stat.st_dev, stat.st_ino
