"""A rule file onto disk and into Prometheus: the old one or the new valid one, nothing between.

Write beside, fsync, rename, reload, see it healthy through the API; when any
step fails, the file that was there comes back.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import stat
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO

from rules.alone import alone
from rules.document import RuleFile
from rules.publisher import Found, not_put_back, not_reloaded
from rules.verify import RuleServer, begin_reload, wait_until_live
from sidecar.durable import TEMPORARY, replace_file
from sidecar.errors import PullError, RuleError, RuleReason

POLL_SECONDS = 0.5


class Publisher:
    """Puts rule files into one directory that Prometheus loads.

    `reload` False: the server picks files up by itself (auto-reload, a sidecar
    that reloads), so only the wait for it is done here.
    """

    def __init__(
        self,
        directory: Path,
        server: RuleServer,
        *,
        reload: bool,
        verify_timeout_seconds: float,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._directory = directory
        self._server = server
        self._reload = reload
        self._timeout = verify_timeout_seconds
        self._monotonic = monotonic

    @property
    def at_once(self) -> int:
        """One: a reload that fails must be the fault of the file just written."""
        return 1

    def path(self, group: str) -> Path:
        """Where a group's file is, or would be."""
        return self._directory / f"{group}.rules.yaml"

    def place(self, group: str) -> str:
        """The file's path."""
        return str(self.path(group))

    async def found(self, group: str, text: str) -> Found:
        """Whether the group's file has that very text."""
        there = await self.text(group)
        if there is None:
            return Found.ABSENT
        return Found.SAME if there == text else Found.OTHER

    async def says_one_of(self, group: str, texts: Sequence[str]) -> bool:
        """Whether the group's file is one of them to the letter."""
        return await self.text(group) in texts

    async def text(self, group: str) -> str | None:
        """The group's file as it is on disk; None where there is none. Raises: RuleError (not readable)."""
        try:
            return await asyncio.to_thread(_read, self.path(group))
        except (OSError, UnicodeDecodeError) as error:
            raise RuleError(
                RuleReason.NOT_WRITABLE, f"{self.path(group)} cannot be read, so it is left as it is: {error}"
            ) from error

    async def publish(self, file: RuleFile) -> None:
        """Make the file live.

        Raises: RuleError with the reason; the file that was there before is back
        in its place then, and the server was asked to load it again.
        """
        with alone(self._directory):
            before = await self.text(file.group)
            await self.put(file.group, file.text)
            try:
                await self._load(file)
            except RuleError as error:
                if error.reason == RuleReason.UNHEALTHY.value and before == file.text:
                    before = None  # The same bad text, left by a roll-back that did not get through.
                try:
                    await self._put_back(file.group, before)
                except RuleError as trouble:
                    raise not_put_back(error, trouble) from trouble
                raise

    async def put(self, group: str, text: str | None) -> None:
        """Write a file (None: remove it) atomically, without loading it.

        Raises: RuleError (not writable); what was there is untouched then.
        """
        try:
            await asyncio.to_thread(write_atomically, self.path(group), text)
        except OSError as error:
            raise RuleError(
                RuleReason.NOT_WRITABLE,
                f"{self.path(group)}: {error.strerror or error}; the rules that were there are untouched",
            ) from error

    async def restore(self, group: str, text: str | None) -> None:
        """Put an earlier text (None: no file) in place and have it loaded, as far as the server lets us.

        Raises: RuleError (not writable, reload failed, conflict with another pronoia).
        """
        with alone(self._directory):
            await self.put(group, text)
            if self._reload:
                try:
                    await self._server.reload()
                except PullError as error:
                    raise not_reloaded(self.place(group), error) from error

    async def sweep(self) -> None:
        """Remove temporary files that a killed process left."""
        await asyncio.to_thread(_sweep, self._directory)

    async def _put_back(self, group: str, before: str | None) -> None:
        await self.put(group, before)
        if self._reload:
            try:
                await self._server.reload()
            except PullError:
                return  # Nothing more can be done from here; the good file is in place for the next reload.

    async def _load(self, file: RuleFile) -> None:
        if self._reload:
            try:
                await begin_reload(self._server)
            except PullError as error:
                hint = (
                    "another rule file may be broken"
                    if error.retryable
                    else "start Prometheus with --web.enable-lifecycle"
                )
                raise RuleError(RuleReason.RELOAD_FAILED, f"reload refused ({error}); {hint}") from error
        await wait_until_live(
            self._server,
            file,
            timeout_seconds=self._timeout,
            poll_seconds=POLL_SECONDS,
            advice=f"add {self._directory}/*.rules.yaml to its rule_files; "
            "where another server evaluates rules, name it in prometheus.evaluator",
            monotonic=self._monotonic,
        )


def write_atomically(path: Path, text: str | None) -> None:
    """Replace `path` by `text`, durably and whole, for the same readers; None removes it.

    Raises: OSError, and then `path` is as it was.
    """
    if text is None:
        path.unlink(missing_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    before = path.stat() if path.exists() else None

    def write(file: BinaryIO) -> None:
        file.write(text.encode())
        if before is not None:
            _keep_readers(file.fileno(), before)

    # Readable by all where nobody said else: Prometheus often runs as another user of the same volume.
    replace_file(path, write, mode=stat.S_IMODE(before.st_mode) if before else 0o644)


def _keep_readers(file: int, before: os.stat_result) -> None:
    """Give an open file the owner and group of the one that it replaces, as far as the system lets us.

    Raises: OSError where somebody could read that one and could not read this: a Prometheus that cannot
    read a rule file loads none any more.
    """
    for owner in (before.st_uid, -1):
        with contextlib.suppress(PermissionError):
            os.fchown(file, owner, before.st_gid)
            break
    now, mode = os.fstat(file), before.st_mode
    lost_group = now.st_gid != before.st_gid and mode & stat.S_IRGRP
    lost_owner = now.st_uid != before.st_uid and not mode & stat.S_IRGRP
    if not mode & stat.S_IROTH and (lost_group or lost_owner):
        raise OSError(
            errno.EPERM,
            "it would be another user's or group's, and Prometheus could not read it; "
            "run pronoia as its owner, or let all read it",
        )


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None


def _sweep(directory: Path) -> None:
    for file in directory.glob(f".pronoia-*{TEMPORARY}"):
        file.unlink(missing_ok=True)
