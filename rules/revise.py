"""One revision of a group on its way: proposed, checked, live, taken back; each step remembered."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any

import msgspec

from rules.adapt.place import is_adapted
from rules.document import RuleFile
from rules.learn import Thresholds
from rules.lint import refuse_faults
from rules.metrics import RuleMetrics
from rules.prove import Prover
from rules.publisher import Found, RulePublisher
from rules.read import read_text
from rules.shadow import shadow_of
from rules.validate import check
from sidecar.errors import RuleError, RuleReason, StoreError
from sidecar.events import Event, EventBus
from sidecar.ports import RuleStore
from sidecar.records import RuleRevision
from sidecar.telemetry import get_logger

NOT_ITS_FAULT = (
    RuleReason.RELOAD_FAILED,
    RuleReason.NOT_WRITABLE,
    RuleReason.CONFLICT,
    RuleReason.UNREACHABLE,
    RuleReason.UNAUTHORIZED,
    RuleReason.NOT_LOADED,
)
"""What keeps a file from getting into its place, whatever the file says."""


class Reviser:
    """Puts revisions live and takes them back; the store knows what became of each.

    `prover`: what is asked for cost and back-test before publishing; None: nothing is.
    `canary_seconds`: how long a revision is a shadow before it is live.
    """

    def __init__(
        self,
        publisher: RulePublisher,
        store: RuleStore,
        *,
        bus: EventBus,
        metrics: RuleMetrics,
        promtool: str,
        canary_seconds: float = 0.0,
        prover: Prover | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.publisher = publisher
        self._store = store
        self._bus = bus
        self._metrics = metrics
        self._promtool = promtool
        self._canary_seconds = canary_seconds
        self._prover = prover
        self._now = now
        self._log = get_logger("rules-loop")
        self._refused: dict[str, str] = {}

    async def history(self, group: str) -> list[RuleRevision]:
        """Revisions of a group, newest first."""
        return await self._store.revisions(group=group, limit=200)

    async def live(self) -> dict[str, RuleRevision]:
        """The live revision of each generated group that has one."""
        revisions = await self._store.revisions(state="live", limit=10_000)
        return {
            revision.group: revision for revision in reversed(revisions) if not is_adapted(revision.group)
        }

    def refused(self, file: RuleFile) -> bool:
        """True where this very text was refused before: it would fail the same way."""
        return self._refused.get(file.group) == file.revision

    async def in_place(self, group: str, history: Sequence[RuleRevision]) -> Found:
        """What is in the group's place, compared with its live revision; ABSENT where none is live.

        Raises: RuleError (hand edited) for a text that pronoia never wrote: it is kept.
        """
        live = next((revision for revision in history if revision.state == "live"), None)
        if live is None:
            return Found.ABSENT
        there = await self.publisher.found(group, live.content)
        if there is Found.OTHER and not await self._wrote(group, history):
            raise RuleError(
                RuleReason.HAND_EDITED,
                f"{self.publisher.place(group)} was edited by hand and is kept; put pronoia's text back with "
                f"`pronoia rules drift --repair {group}`, or set `rule: false` and make the file your own",
            )
        return there

    async def _wrote(self, group: str, history: Sequence[RuleRevision]) -> bool:
        """Whether what is in place is some revision's text, as a crash or half a roll-back leaves it."""
        return await self.publisher.says_one_of(group, [revision.content for revision in history])

    async def shadows(self) -> list[RuleRevision]:
        """Revisions of generated groups that run as shadows."""
        found = await self._store.revisions(state="canary", limit=10_000)
        return [revision for revision in found if not is_adapted(revision.group)]

    async def publish(
        self,
        file: RuleFile,
        evidence: Mapping[str, object],
        live: RuleRevision | None,
        *,
        thresholds: Thresholds | None = None,
        at_once: bool = False,
        **facts: Any,
    ) -> RuleRevision:
        """Check the file, make it live in place of `live` or a shadow beside it, and remember it.

        `thresholds`: those that it was rendered from, where it was learned. `at_once`: without a shadow.
        Raises: RuleError; the text that was there before is back in place then.
        """
        replaced = live or await self._found_in_place(file)
        revision = RuleRevision(
            revision_id=await self._name(file),
            group=file.group,
            created_at_ns=int(self._now() * 1e9),
            content=file.text,
            content_hash=file.revision,
            evidence=dict(evidence),
            checks={},
            state="proposed",
            replaces=replaced.revision_id if replaced else None,
        )
        facts |= {
            "group": file.group,
            "revision": file.revision,
            "file": self.publisher.place(file.group),
        }
        self.tell("rules.proposed", **facts)
        try:
            await self._check(revision, thresholds)
            self.tell("rules.checked", **facts, checks=revision.checks)
            await self._store.put_revision(revision)
            if self._canary_seconds and not at_once:
                return await self._beside(revision, file)
            await self.publisher.publish(file)
        except RuleError as error:
            await self._reject(revision, file, error)
            raise
        await self._now_live(revision, live)
        return revision

    async def _name(self, file: RuleFile) -> str:
        """What a revision is called: as the one before, where that never got in for no fault of its own.

        What lasts, as a folder that nobody loads, is tried each minute, and is one revision.
        """
        newest = next(iter(await self._store.revisions(group=file.group, limit=1)), None)
        if newest is not None and newest.state == "rejected" and _never_ran(newest):
            return newest.revision_id
        return f"{file.group}-{file.revision}-{int(self._now() * 1000):x}"

    async def _found_in_place(self, file: RuleFile) -> RuleRevision | None:
        """What stands there though nothing of the group is live here, remembered for a roll-back.

        Another pronoia's text, or one whose store is lost; people may have edited it. Raises: RuleError.
        """
        text = await self.publisher.text(file.group)
        known = {revision.content for revision in await self.history(file.group)}
        if text is None or text == file.text or text in known:
            return None
        found = RuleRevision(
            revision_id=f"{file.group}-found-{int(self._now() * 1000):x}",
            group=file.group,
            created_at_ns=int(self._now() * 1e9),
            content=text,
            content_hash=hashlib.sha256(text.encode()).hexdigest()[:12],
            evidence={},
            checks={},
            state="superseded",
            reason="found in its place, unknown to this store",
        )
        await self._store.put_revision(found)
        self._log.warning(
            "rules that this store does not know are replaced, and remembered",
            group=file.group,
            revision=found.content_hash,
        )
        return found

    async def _check(self, revision: RuleRevision, thresholds: Thresholds | None) -> None:
        """Everything that is asked before any server loads it. Raises: RuleError."""
        revision.checks = await check(revision.content, promtool=self._promtool)
        revision.checks["lint"] = refuse_faults(read_text(revision.content))
        if self._prover is not None:
            proof = await self._prover.prove(revision.content, thresholds)
            revision.checks |= proof.words()
            revision.evidence["firings_per_day"] = proof.firings_per_day
            if proof.cannot_fire:
                self._log.warning("rules that cannot fire", group=revision.group, why=proof.cannot_fire)

    async def _beside(self, revision: RuleRevision, file: RuleFile) -> RuleRevision:
        revision.state, revision.live_from_ns = "canary", int(self._now() * 1e9)
        revision.evidence["canary_seconds"] = self._canary_seconds
        await self._store.put_revision(revision)
        await self.publisher.publish(shadow_of(file))
        self._log.info("rule runs as a shadow first", group=file.group, revision=file.revision)
        self.tell("rules.shadowed", group=file.group, revision=file.revision)
        return revision

    async def promote(self, revision: RuleRevision) -> None:
        """A shadow that did well in place of what is live; it runs until that is noted.

        Raises: RuleError; it is rejected then, or runs on where people edited what is live.
        """
        await self.in_place(revision.group, await self.history(revision.group))
        file = file_of(revision)
        try:
            await self.publisher.publish(file)
        except RuleError as error:
            await self.publisher.restore(shadow_of(file).group, None)
            await self._reject(revision, file, error)
            raise
        before = (await self.live()).get(revision.group)
        if revision.revision_id not in {shadow.revision_id for shadow in await self.shadows()}:
            await self.publisher.restore(revision.group, before.content if before else None)
            words = f"{revision.group}: its shadow was taken back while it went live, and so is it"
            raise RuleError(RuleReason.CONFLICT, words)
        await self._now_live(revision, before)
        await self.publisher.restore(shadow_of(file).group, None)
        self.tell("rules.promoted", group=revision.group, revision=revision.content_hash)

    async def end_shadow(self, revision: RuleRevision, why: str) -> None:
        """Take a shadow away that was not good enough, or is not wanted any more. Raises: RuleError."""
        await self.publisher.restore(shadow_of(file_of(revision)).group, None)
        now_ns = int(self._now() * 1e9)
        await self._store.put_revision(
            msgspec.structs.replace(revision, state="rejected", live_until_ns=now_ns, reason=why)
        )
        self._metrics.canary_failed.inc()
        self._log.warning("shadow ended", group=revision.group, why=why)
        self.tell("rules.canary_failed", group=revision.group, revision=revision.content_hash, why=why)

    async def _now_live(self, revision: RuleRevision, before: RuleRevision | None) -> None:
        revision.state, revision.live_from_ns = "live", int(self._now() * 1e9)
        # In one: killed between the two, nothing would be live, and what is in place would be removed.
        await self._store.put_revision(*([self._superseded(before, "")] if before else ()), revision)
        self._metrics.published.labels("ok").inc()
        facts = {
            "group": revision.group,
            "revision": revision.content_hash,
            "file": self.publisher.place(revision.group),
        }
        self._log.info("rule published", **facts)
        self.tell("rules.published", **facts, checks=revision.checks)

    async def end(self, live: RuleRevision, why: str) -> None:
        """Note that a revision is live no longer, as another took its place or its query is gone."""
        await self._store.put_revision(self._superseded(live, why))

    def _superseded(self, live: RuleRevision, why: str) -> RuleRevision:
        now_ns = int(self._now() * 1e9)
        return msgspec.structs.replace(live, state="superseded", live_until_ns=now_ns, reason=why)

    async def recover(self) -> None:
        """After a crash between writing and verifying: what is in place without being live is undone.

        What people wrote stays. Raises: RuleError where what a killed process left cannot be looked for.
        """
        await self.publisher.sweep()
        live = await self.live()
        shadowed = {revision.group for revision in await self.shadows()}
        for revision in live.values():
            await self._put_right(revision, self._recover_live)
            if "canary_seconds" in revision.evidence and revision.group not in shadowed:
                await self._put_right(revision, self._remove_shadow)
        for revision in await self._store.revisions(state="proposed", limit=200):
            if not is_adapted(revision.group):
                before = live.get(revision.group)
                await self._put_right(revision, partial(self._recover_proposed, before=before))

    async def _put_right(
        self, revision: RuleRevision, work: Callable[[RuleRevision], Awaitable[None]]
    ) -> None:
        try:
            await work(revision)
        except RuleError as error:
            # The others have a right to theirs; each run of the loop looks at this one again.
            self._log.warning("rules in place are not what is live", group=revision.group, err=str(error))

    async def _recover_live(self, revision: RuleRevision) -> None:
        group = revision.group
        if await self.in_place(group, await self.history(group)) is not Found.SAME:
            self._log.warning("rules in place differ from the live revision, putting that back", group=group)
            await self.publisher.restore(group, revision.content)

    async def _remove_shadow(self, revision: RuleRevision) -> None:
        """What was its shadow, where a killed process left that beside it."""
        shadow = shadow_of(file_of(revision)).group
        if await self.publisher.text(shadow) is not None:
            await self.publisher.restore(shadow, None)

    async def _recover_proposed(self, revision: RuleRevision, before: RuleRevision | None) -> None:
        if await self.publisher.found(revision.group, revision.content) is Found.SAME:
            await self.publisher.restore(revision.group, before.content if before else None)
        await self._store.put_revision(
            msgspec.structs.replace(revision, state="rejected", reason="interrupted before it was verified")
        )

    async def take_back(self, group: str, why: str) -> RuleRevision | None:
        """Undo the live revision; the one before it is live again, None: there is none.

        Raises: RuleError where no revision is live, people edited it, or the place does not take the text.
        """
        history = await self.history(group)
        live = next((revision for revision in history if revision.state == "live"), None)
        if live is None:
            raise RuleError(
                RuleReason.NOT_LOADED, f"{group}: no revision of it is live; see pronoia rules log"
            )
        await self.in_place(group, history)
        before = next(
            (r for r in history if r.state == "superseded" and r.revision_id == live.replaces), None
        )
        await self.publisher.restore(group, before.content if before else None)
        now_ns = int(self._now() * 1e9)
        ended = msgspec.structs.replace(live, state="rolled_back", live_until_ns=now_ns, reason=why)
        back = [
            msgspec.structs.replace(one, state="live", live_from_ns=now_ns, live_until_ns=None)
            for one in (before,)
            if one is not None
        ]
        await self._store.put_revision(ended, *back)
        self._metrics.rolled_back.inc()
        self._log.warning("rule taken back", group=group, why=why)
        self.tell("rules.rolled_back", group=group, revision=live.content_hash, why=why)
        return before

    async def undo(self, group: str, why: str) -> RuleRevision | None:
        """Take back the last step: a shadow where one runs, else what is live; what is live then.

        Raises: RuleError.
        """
        for shadow in await self._store.revisions(group=group, state="canary", limit=1):
            await self.end_shadow(shadow, why)
            return (await self.live()).get(group)
        return await self.take_back(group, why)

    async def _reject(self, revision: RuleRevision, file: RuleFile, error: RuleError) -> None:
        if error.reason in (RuleReason.CHECK_FAILED.value, RuleReason.UNHEALTHY.value):
            self._refused[file.group] = file.revision
        revision.state, revision.reason = "rejected", f"{error.reason}: {error}"
        try:
            await self._store.put_revision(revision)
        except StoreError as trouble:
            self._log.warning("rejected revision not recorded", err=str(trouble))

    def tell(self, kind: str, **facts: Any) -> None:
        """An event for whoever listens."""
        self._bus.publish(Event(kind, self._now(), facts))


def failed_live(revision: RuleRevision) -> bool:
    """Whether it was taken back, live or as a shadow: one like it is not tried again."""
    shadow = revision.state == "rejected" and "canary_seconds" in revision.evidence
    return revision.state == "rolled_back" or (shadow and not _never_ran(revision))


def _never_ran(revision: RuleRevision) -> bool:
    """Whether one that was rejected did not even get into place, and proved nothing."""
    return any(revision.reason.startswith(f"{reason.value}: ") for reason in NOT_ITS_FAULT)


def file_of(revision: RuleRevision) -> RuleFile:
    """The generated file that a revision remembers."""
    return RuleFile(revision.group, f"{revision.group}.rules.yaml", revision.content_hash, revision.content)
