"""Rewritten rule files into their place: checked, written whole, reloaded, seen healthy, or put back.

The files are people's own. What they wrote since is never overwritten, each version
is remembered with its evidence, and one process at a time changes a folder.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import os
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from rules.adapt.canary import canary_path, canary_text, rewrites_of, shadows
from rules.adapt.place import group_of, is_adapted, path_of
from rules.adapt.text import Rewrite
from rules.publish import POLL_SECONDS, write_atomically
from rules.read import WrittenRule, of_server
from rules.validate import check
from rules.verify import RuleServer
from sidecar.errors import PullError, RuleError, RuleReason
from sidecar.ports import RuleStore
from sidecar.promql.syntax import Syntax
from sidecar.records import RuleRevision

LOCK = ".pronoia.lock"


class AdaptedFiles:
    """Rule files of people's own, rewritten and taken back."""

    def __init__(
        self,
        server: RuleServer,
        store: RuleStore,
        *,
        promtool: str,
        reload: bool,
        verify_timeout_seconds: float,
        now: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._server = server
        self._store = store
        self._promtool = promtool
        self._reload = reload
        self._timeout = verify_timeout_seconds
        self._now = now
        self._monotonic = monotonic

    async def publish(
        self,
        path: Path,
        before: str,
        after: str,
        rewrites: Sequence[Rewrite],
        *,
        evidence: dict[str, object],
        approver: str,
    ) -> RuleRevision:
        """Put `after` in the place of `before`.

        Raises: RuleError; the file is as it was then, and the server was asked to load it again.
        """
        checks = await check(after, promtool=self._promtool)
        async with _alone(path.parent):
            if await asyncio.to_thread(path.read_text, encoding="utf-8") != before:
                raise RuleError(RuleReason.HAND_EDITED, f"{path} was changed meanwhile; plan again")
            await self._replace(path, before, after, [new for _, new in rewrites])
        live = await self.live(group_of(path))
        if live is not None:
            await self._end(live, "superseded", "")
        revision = self._revision(path, before, after, evidence, approver)
        revision.checks, revision.state = checks, "live"
        revision.replaces = live.revision_id if live else None
        await self._store.put_revision(revision)
        return revision

    async def shadow(
        self,
        path: Path,
        before: str,
        after: str,
        rewrites: Sequence[Rewrite],
        *,
        evidence: dict[str, object],
        approver: str,
        seconds: float,
    ) -> RuleRevision:
        """Load the rewritten rules beside the live ones for so long, under a label that routes nowhere.

        Raises: RuleError; no shadow is left then.
        """
        text = canary_text(rewrites)
        checks = await check(text, promtool=self._promtool)
        async with _alone(path.parent):
            await self._replace(canary_path(path), None, text, shadows(rewrites))
        revision = self._revision(path, before, after, {**evidence, "canary_seconds": seconds}, approver)
        revision.checks, revision.state = checks, "canary"
        await self._store.put_revision(revision)
        return revision

    async def end_shadow(self, revision: RuleRevision, why: str) -> None:
        """Remove a shadow. `why` it was not good enough; empty: it was, and its rules go live next.

        Raises: RuleError.
        """
        path = canary_path(path_of(revision.group))
        async with _alone(path.parent):
            await self._write(path, None)
        await self._reload_quietly()
        await self._end(revision, "rejected" if why else "superseded", why or "shadow ended well")

    async def promote(self, revision: RuleRevision) -> RuleRevision:
        """A shadow's rules in place of those that they shadowed.

        Raises: RuleError, also where people changed the file meanwhile; the shadow is gone in any case.
        """
        path = path_of(revision.group)
        await self.end_shadow(revision, "")
        evidence = {key: value for key, value in revision.evidence.items() if key != "canary_seconds"}
        return await self.publish(
            path,
            str(revision.evidence["before"]),
            revision.content,
            rewrites_of(revision, str(path)),
            evidence=evidence,
            approver=str(revision.evidence["approver"]),
        )

    async def live(self, group: str) -> RuleRevision | None:
        """The live revision of a file."""
        return next(iter(await self._store.revisions(group=group, state="live", limit=1)), None)

    async def watched(self) -> list[RuleRevision]:
        """Revisions that Prometheus evaluates now: live, or as a shadow."""
        found = [
            *await self._store.revisions(state="live", limit=10_000),
            *await self._store.revisions(state="canary", limit=10_000),
        ]
        return [revision for revision in found if is_adapted(revision.group)]

    async def take_back(self, group: str, why: str) -> RuleRevision:
        """Put back what stood in the file before its live revision.

        Raises: RuleError where there is none, or people edited the file since.
        """
        live = await self.live(group)
        if live is None:
            raise RuleError(RuleReason.NOT_LOADED, f"{group}: no revision of it is live")
        path = path_of(group)
        async with _alone(path.parent):
            if await asyncio.to_thread(path.read_text, encoding="utf-8") != live.content:
                raise RuleError(
                    RuleReason.HAND_EDITED, f"{path} was edited since; take the change out by hand"
                )
            await self._write(path, str(live.evidence["before"]))
            if self._reload:
                await self._reload_now()
        return await self._end(live, "rolled_back", why)

    def _revision(
        self, path: Path, before: str, after: str, evidence: dict[str, object], approver: str
    ) -> RuleRevision:
        now_ns = int(self._now() * 1e9)
        group = group_of(path)
        digest = hashlib.sha256(after.encode()).hexdigest()[:12]
        return RuleRevision(
            revision_id=f"{group}-{digest}-{now_ns // 1000:x}",
            group=group,
            created_at_ns=now_ns,
            content=after,
            content_hash=digest,
            evidence={**evidence, "approver": approver, "before": before},
            checks={},
            state="proposed",
            live_from_ns=now_ns,
        )

    async def _end(self, revision: RuleRevision, state: str, why: str) -> RuleRevision:
        ended = msgspec.structs.replace(
            revision, state=state, live_until_ns=int(self._now() * 1e9), reason=why
        )
        await self._store.put_revision(ended)
        return ended

    async def _replace(
        self, path: Path, before: str | None, after: str, wanted: Sequence[WrittenRule]
    ) -> None:
        """Write and load; `before` is back where that does not go well."""
        await self._write(path, after)
        try:
            await self._load(wanted)
        except RuleError:
            await self._write(path, before)
            await self._reload_quietly()
            raise

    async def _write(self, path: Path, text: str | None) -> None:
        try:
            await asyncio.to_thread(write_atomically, path, text)
        except OSError as error:
            raise RuleError(
                RuleReason.NOT_WRITABLE, f"{path}: {error.strerror or error}; it is as it was"
            ) from error

    async def _reload_now(self) -> None:
        try:
            await self._server.reload()
        except PullError as error:
            raise RuleError(RuleReason.RELOAD_FAILED, f"reload refused ({error})") from error

    async def _reload_quietly(self) -> None:
        if self._reload:
            with contextlib.suppress(PullError):
                await self._server.reload()  # The good file is in place for the next one.

    async def _load(self, wanted: Sequence[WrittenRule]) -> None:
        """Return once every rewritten rule is loaded and was evaluated without an error."""
        if self._reload:
            await self._reload_now()
        deadline = self._monotonic() + self._timeout
        missing = [rule.key for rule in wanted]
        while self._monotonic() < deadline:
            names = {rule.name for rule in wanted}
            rules = [rule for rule in of_server(await self._server.rules()) if rule.name in names]
            loaded = {_written(rule): rule for rule in rules}
            there = [loaded[_written(rule)] for rule in wanted if _written(rule) in loaded]
            bad = next((rule for rule in there if rule.health == "err"), None)
            if bad is not None:
                raise RuleError(RuleReason.UNHEALTHY, f"{bad.name}: {bad.last_error}")
            if len(there) == len(wanted) and all(rule.health == "ok" for rule in there):
                return
            missing = [rule.key for rule in wanted if _written(rule) not in loaded]
            await asyncio.sleep(POLL_SECONDS)
        if missing:
            raise RuleError(
                RuleReason.NOT_LOADED,
                f"Prometheus does not show {missing[0]} as rewritten after {self._timeout:g} s; "
                "does it load this file?",
            )


def _written(rule: WrittenRule) -> tuple[object, ...]:
    """What names a rule as it is meant: Prometheus prints expressions in its own way, and means the same."""
    syntax = Syntax.parse(rule.expr)
    strings = tuple(text[1:-1] for text in syntax.strings)
    return rule.key, rule.for_seconds, rule.keep_firing_seconds, str(syntax.tree), strings


@asynccontextmanager
async def _alone(folder: Path) -> AsyncIterator[None]:
    """While the block lasts no other pronoia changes files of the folder.

    Raises: RuleError where another one does.
    """
    try:
        lock = os.open(folder / LOCK, os.O_CREAT | os.O_RDWR, 0o600)
    except OSError as error:
        raise RuleError(RuleReason.NOT_WRITABLE, f"{folder}: {error.strerror}") from error
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
