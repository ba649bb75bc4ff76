"""Files that others renew while we run, such as certificates: read again as soon as they are others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

from sidecar.telemetry import get_logger

T = TypeVar("T")
Mark = tuple[int, int, int] | None


class Renewed(Generic[T]):
    """What `make` makes of some files; made anew when one of them has changed, kept where that fails.

    A renewal is several files, and may be looked at amid it. `make` raises OSError or `failure`.
    """

    def __init__(
        self, files: Sequence[Path | None], make: Callable[[], T], *, failure: type[Exception] = OSError
    ) -> None:
        self._files = [file for file in files if file is not None]
        self._names = ", ".join(map(str, self._files))
        self._make = make
        self._failure = failure
        self._made: T | None = None
        self._marks: list[Mark] = []
        self._log = get_logger("renewed-files")

    def get(self) -> T:
        """Of the files as they are now. Raises: what `make` does, while none could be used yet."""
        marks = [_mark(file) for file in self._files]
        if self._made is not None and marks == self._marks:
            return self._made
        try:
            made = self._make()
        except (OSError, self._failure) as error:
            if self._made is None:
                raise
            self._log.warning(
                "renewed files cannot be used, those before are", files=self._names, err=str(error)
            )
        else:
            if self._made is not None:
                self._log.info("renewed files are used", files=self._names)
            self._made = made
        self._marks = marks
        return self._made


def _mark(file: Path) -> Mark:
    """What another file has another of; None where there is none."""
    try:
        stat = file.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size, stat.st_ino
