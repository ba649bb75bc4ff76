"""One pronoia at a time changes the rules of a folder."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sidecar.errors import RuleError, RuleReason

LOCK = ".pronoia.lock"


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """While the block lasts no other pronoia changes files of the folder, which is made where it is not.

    Raises: RuleError where another one does right now, or the folder cannot be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = _opened(folder / LOCK)
    except OSError as error:
        words = f"{error.filename or folder}: {error.strerror}; the rules that were there are untouched"
        raise RuleError(RuleReason.NOT_WRITABLE, words) from error
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise RuleError(
                RuleReason.CONFLICT, f"another pronoia changes rules in {folder} right now"
            ) from error
        yield
    finally:
        os.close(lock)


def _opened(lock: Path) -> int:
    """The lock for whoever may write in the folder: another user, as root by hand, may have made it."""
    try:
        return os.open(lock, os.O_CREAT | os.O_RDWR, 0o644)
    except PermissionError:
        return os.open(lock, os.O_RDONLY)
