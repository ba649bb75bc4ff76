"""A rule file onto disk and into Prometheus: the old one or the new valid one, nothing between.

Write beside, fsync, rename, reload, see it healthy through the API; when any
step fails, the file that was there comes back.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from rules.document import RuleFile
from sidecar.durable import TEMPORARY, replace_file
from sidecar.errors import PullError, RuleError, RuleReason
from sidecar.prometheus.answers import Rule

POLL_SECONDS = 0.5


class RuleServer(Protocol):
    """What publishing asks of Prometheus; `PrometheusClient` has it."""

    async def reload(self) -> None:
        """Read the rule files again. Raises: PullError with the server's words."""
        ...

    async def rules(self) -> list[Rule]:
        """What is loaded. Raises: PullError."""
        ...


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

    def path(self, file_name: str) -> Path:
        """Where a file of that name is, or would be."""
        return self._directory / file_name

    async def read(self, file_name: str) -> str | None:
        """The file as it is on disk; None where there is none."""
        return await asyncio.to_thread(_read, self.path(file_name))

    async def publish(self, file: RuleFile) -> None:
        """Make the file live.

        Raises: RuleError with the reason; the file that was there before is back
        in its place then, and the server was asked to load it again.
        """
        before = await self.read(file.file_name)
        await self.put(file.file_name, file.text)
        try:
            await self._load(file)
        except RuleError:
            await self._put_back(file.file_name, before)
            raise

    async def put(self, file_name: str, text: str | None) -> None:
        """Write a file (None: remove it) atomically, without loading it.

        Raises: RuleError (not writable); what was there is untouched then.
        """
        try:
            await asyncio.to_thread(write_atomically, self.path(file_name), text)
        except OSError as error:
            raise RuleError(
                RuleReason.NOT_WRITABLE,
                f"{self.path(file_name)}: {error.strerror or error}; the rules that were there are untouched",
            ) from error

    async def restore(self, file_name: str, text: str | None) -> None:
        """Put an earlier text (None: no file) in place and have it loaded, as far as the server lets us.

        Raises: RuleError (not writable, reload failed).
        """
        await self.put(file_name, text)
        if self._reload:
            try:
                await self._server.reload()
            except PullError as error:
                raise RuleError(RuleReason.RELOAD_FAILED, str(error)) from error

    async def sweep(self) -> None:
        """Remove temporary files that a killed process left."""
        await asyncio.to_thread(_sweep, self._directory)

    async def _put_back(self, file_name: str, before: str | None) -> None:
        await self.put(file_name, before)
        if self._reload:
            try:
                await self._server.reload()
            except PullError:
                return  # Nothing more can be done from here; the good file is in place for the next reload.

    async def _load(self, file: RuleFile) -> None:
        if self._reload:
            try:
                await self._server.reload()
            except PullError as error:
                hint = (
                    "another rule file may be broken"
                    if error.retryable
                    else "start Prometheus with --web.enable-lifecycle"
                )
                raise RuleError(RuleReason.RELOAD_FAILED, f"reload refused ({error}); {hint}") from error
        deadline = self._monotonic() + self._timeout
        found: list[Rule] = []
        while self._monotonic() < deadline:
            try:
                found = members(await self._server.rules(), file.group)
            except PullError as error:
                if not error.retryable:
                    raise RuleError(RuleReason.NOT_LOADED, str(error)) from error
            if is_revision(found, file.revision):
                bad = [rule for rule in found if rule.health == "err"]
                if bad:
                    raise RuleError(RuleReason.UNHEALTHY, f"{bad[0].name}: {bad[0].last_error}")
                if all(rule.health == "ok" for rule in found):
                    return
            await asyncio.sleep(POLL_SECONDS)
        if is_revision(found, file.revision):
            return  # Loaded, and not evaluated within the time; the watch over live rules goes on.
        raise RuleError(
            RuleReason.NOT_LOADED,
            f"Prometheus does not show the group {file.group} after {self._timeout:g} s; "
            f"add {self._directory}/*.rules.yaml to its rule_files",
        )


def members(rules: Sequence[Rule], group: str) -> list[Rule]:
    """The rules of one group."""
    return [rule for rule in rules if rule.group == group]


def is_revision(rules: Sequence[Rule], revision: str) -> bool:
    """True where the alerting rules among these carry the revision."""
    alerts = [rule for rule in rules if rule.kind == "alerting"]
    return bool(alerts) and all(rule.annotations.get("pronoia_revision") == revision for rule in alerts)


def write_atomically(path: Path, text: str | None) -> None:
    """Replace `path` by `text`, durably and whole; None removes it.

    Raises: OSError, and then `path` is as it was.
    """
    if text is None:
        path.unlink(missing_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    # Readable by all: Prometheus often runs as another user of the same volume.
    replace_file(path, lambda file: file.write(text.encode()), mode=0o644)


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None


def _sweep(directory: Path) -> None:
    for file in directory.glob(f".pronoia-*{TEMPORARY}"):
        file.unlink(missing_ok=True)
