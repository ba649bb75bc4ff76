"""One process owns a data folder: two would tell people twice and overwrite each other's models."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from sidecar.errors import StoreError

FILE = "pronoia.lock"


class FolderLock:
    """Held from `take` to `release`, or to the end of the process however it ends."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / FILE
        self._descriptor: int | None = None

    def take(self) -> None:
        """Own the folder, which is made if need be.

        Raises: StoreError naming the process that owns it already, or why none can.
        """
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise StoreError(f"{self._path.parent} cannot be used: {error.strerror}") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            owner = os.pread(descriptor, 20, 0).decode(errors="replace").strip() or "?"
            os.close(descriptor)
            raise StoreError(f"{self._path.parent} is used by another pronoia, process {owner}") from error
        except OSError:
            # A file system without locks, as some network ones are: nothing is promised there.
            os.close(descriptor)
            return
        self._descriptor = descriptor
        try:
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        except OSError:
            return  # A full disk: the lock holds, only its owner's name is missing.

    def release(self) -> None:
        """Give the folder back; nothing where it is not held."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
