"""Rewritten rules into their place: checked, written whole, loaded, seen healthy, or put back.

The places are people's own. What they wrote since is never overwritten, each version
is remembered with its evidence, and one process at a time changes a place.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import msgspec

from rules.adapt.canary import canary_text, is_shadow, rewrites_of, shadows
from rules.adapt.change import Change
from rules.adapt.place import Place, is_place
from rules.adapt.placing import Placing
from rules.adapt.plan import carried_over
from rules.adapt.text import Rewrite, rewrite_text
from rules.publisher import NotPutBack
from rules.validate import check
from rules.verify import RuleServer
from sidecar.errors import PullError, RuleError, RuleReason
from sidecar.ports import RuleStore
from sidecar.records import RuleRevision

TRY_AGAIN_SECONDS = 3600.0
"""So long a shadow runs on that did well and does not get into its place, as where a neighbour is broken."""


class AdaptedRules:
    """Rules of people's own, rewritten and taken back; `place_of` finds a place by its name in the store."""

    def __init__(
        self,
        server: RuleServer,
        store: RuleStore,
        place_of: Callable[[str], Place],
        *,
        promtool: str,
        verify_timeout_seconds: float,
        now: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._placing = Placing(server, verify_timeout_seconds=verify_timeout_seconds, monotonic=monotonic)
        self._store = store
        self._place_of = place_of
        self._promtool = promtool
        self._timeout = verify_timeout_seconds
        self._now = now

    async def propose(self, change: Change) -> RuleRevision | None:
        """Remember a rewrite that waits for a person's approval, in place of one that waited before.

        None: that very text waits already, or was refused.
        Raises: RuleError where the text does not pass its check.
        """
        checks = await check(change.after, promtool=self._promtool)
        for older in await self._store.revisions(group=change.group, limit=1000):
            if older.content == change.after and older.state in ("proposed", "rejected"):
                return None
            if older.state == "proposed":
                await self._end(older, "superseded", "proposed anew")
        revision = self._revision(change)
        revision.checks, revision.live_from_ns = checks, None
        await self._store.put_revision(revision)
        return revision

    async def publish(self, change: Change) -> RuleRevision:
        """Put what is after in the place of what was before.

        Raises: RuleError; the place is as it was then, and the server was asked to load it again.
        """
        checks = await check(change.after, promtool=self._promtool)
        place = self._place_of(change.group)
        revision = self._revision(change)
        revision.checks, revision.state = checks, "begun"
        # Known before it is written: a process that is killed meanwhile leaves what can be undone.
        await self._store.put_revision(revision)
        try:
            with place.alone():
                await self._placing.replace(
                    place, change.before, change.after, [new for _, new in change.rewrites]
                )
        except (RuleError, PullError) as error:
            await self._gave_up(revision, error)
            raise
        live = await self.live(change.group)
        revision.state, revision.replaces = "live", live.revision_id if live else None
        revision.evidence["carried"] = carried_over(live, {old.key for old, _ in change.rewrites})
        # In one: killed between the two, nothing of the place would be live, and nobody watch it.
        await self._store.put_revision(*([self._ended(live, "superseded", "")] if live else ()), revision)
        return revision

    async def shadow(self, change: Change, *, seconds: float) -> RuleRevision:
        """Load the rewritten rules beside the live ones for so long, under a label that routes nowhere.

        Raises: RuleError; no shadow is left then.
        """
        if await self._store.revisions(group=change.group, state="canary", limit=1):
            raise RuleError(RuleReason.CONFLICT, f"a shadow runs beside {change.group} already; let it end")
        text = canary_text(change.rewrites)
        revision = self._revision(replace(change, evidence={**change.evidence, "canary_seconds": seconds}))
        revision.checks, revision.state = await check(text, promtool=self._promtool), "begun"
        # Known before it is written, as a rewrite is: what a killed process leaves can be removed.
        await self._store.put_revision(revision)
        place = self._place_of(change.group).shadow()
        try:
            with place.alone():
                await place.write(None, expected=await place.read())  # One that was left there is over.
                await self._placing.replace(place, None, text, shadows(change.rewrites))
        except (RuleError, PullError) as error:
            await self._gave_up(revision, error)
            raise
        revision.state, revision.live_from_ns = "canary", int(self._now() * 1e9)
        await self._store.put_revision(revision)
        return revision

    async def _gave_up(self, revision: RuleRevision, error: RuleError | PullError) -> None:
        """It is undone; or begun still, and undone later, where its text may stand in the place."""
        if isinstance(error, NotPutBack):
            await self._store.put_revision(msgspec.structs.replace(revision, reason=str(error)))
        else:
            await self._end(revision, "undone", str(error))

    async def end_shadow(self, revision: RuleRevision, why: str) -> None:
        """Remove a shadow. `why` it was not good enough; empty: it was, and its rules go live next.

        Raises: RuleError.
        """
        await self._remove_shadow(revision.group)
        await self._end(revision, "rejected" if why else "superseded", why or "shadow ended well")

    async def promote(self, revision: RuleRevision) -> RuleRevision:
        """A shadow's rules in place of those that they shadowed; it runs until they are live.

        A process that is killed meanwhile leaves the shadow, and the next goes on from there.
        Raises: RuleError, hand edited where people changed those meanwhile; PullError.
        """
        live = await self.live(revision.group)
        if live is None or live.evidence.get("shadow") != revision.revision_id:
            if await self._store.revisions(group=revision.group, state="begun", limit=1):
                words = f"{revision.group}: what a killed process began there is undone first"
                raise RuleError(RuleReason.CONFLICT, words)
            before, after = await self.rebased(revision)
            evidence = {key: value for key, value in revision.evidence.items() if key != "canary_seconds"}
            approver = str(revision.evidence["approver"])
            change = Change(
                revision.group,
                before,
                after,
                rewrites_of(revision),
                {**evidence, "shadow": revision.revision_id},
                approver,
            )
            try:
                live = await self.publish(change)
            except (RuleError, PullError) as error:
                await self._put_off(revision, error)
                raise
        await self.end_shadow(revision, "")
        return live

    async def _put_off(self, shadow: RuleRevision, error: RuleError | PullError) -> None:
        """It goes live later, or not at all where its rules are at fault."""
        if error.reason in (RuleReason.CHECK_FAILED.value, RuleReason.UNHEALTHY.value):
            await self.end_shadow(shadow, str(error))
            return
        age_seconds = self._now() - (shadow.live_from_ns or shadow.created_at_ns) / 1e9
        evidence = {**shadow.evidence, "canary_seconds": age_seconds + TRY_AGAIN_SECONDS}
        await self._store.put_revision(msgspec.structs.replace(shadow, evidence=evidence))

    async def rebased(self, revision: RuleRevision) -> tuple[str, str]:
        """The text of a revision's place now, and that text with its rewrites: other edits stay.

        Raises: RuleError (hand edited) where the rules themselves were changed since.
        """
        before = await self._place_of(revision.group).read() or ""
        try:
            return before, await asyncio.to_thread(rewrite_text, before, rewrites_of(revision))
        except ValueError as error:
            raise RuleError(RuleReason.HAND_EDITED, f"{revision.group}: {error}; plan again") from error

    async def live(self, group: str) -> RuleRevision | None:
        """The live revision of a place."""
        return next(iter(await self._store.revisions(group=group, state="live", limit=1)), None)

    async def of_state(self, state: str) -> list[RuleRevision]:
        """All revisions of people's own places that are live, shadows (canary) or wait (proposed)."""
        found = await self._store.revisions(state=state, limit=10_000)
        return [revision for revision in found if is_place(revision.group)]

    async def watched(self) -> list[RuleRevision]:
        """Revisions that Prometheus evaluates now: live, or as a shadow."""
        return [*await self.of_state("live"), *await self.of_state("canary")]

    async def take_back(self, group: str, why: str) -> RuleRevision:
        """Put back what was in the place before its live revision; the one before it is live again, if any.

        What people wrote elsewhere in the place since stays.
        Raises: RuleError where none is live, or people edited the rewritten rules since.
        """
        live = await self._live(group)
        place, before = self._place_of(group), str(live.evidence["before"])
        now = await place.read()
        # Where it is there again, somebody was killed before noting it, or took it back by other means.
        if not place.same(now, live.content) and not place.same(now, before):
            before = await self._undone(group, now or "", rewrites_of(live))
        await self._restore(group, before, expected=now)
        ended = self._ended(live, "rolled_back", why)
        older = await self._remembered(group, live.replaces)
        back = [older] if older is not None and older.state == "superseded" else []
        again = [msgspec.structs.replace(one, state="live", live_until_ns=None, reason="") for one in back]
        await self._store.put_revision(ended, *again)
        return ended

    async def take_back_one(self, revision: RuleRevision, told: Mapping[str, object], why: str) -> None:
        """Undo one rule's rewrite that the live revision only carries on; all others stay as they are.

        Raises: RuleError; the place is as it was then.
        """
        origin = await self._remembered(revision.group, str(told["revision"]))
        rewrites = [one for one in rewrites_of(origin) if one[0].key == told["rule"]] if origin else []
        now = await self._place_of(revision.group).read() or ""
        after = await self._undone(revision.group, now, rewrites)
        evidence = {"taken_back": {"rule": told["rule"], "revision": told["revision"], "why": why}}
        back = [(new, old) for old, new in rewrites]
        await self.publish(Change(revision.group, now, after, back, evidence, "watch"))
        if origin is not None:
            await self._end(origin, "rolled_back", why)

    async def _undone(self, group: str, text: str, rewrites: Sequence[Rewrite]) -> str:
        """A place's text with those rules as they were before. Raises: RuleError (hand edited)."""
        try:
            return await asyncio.to_thread(rewrite_text, text, [(new, old) for old, new in rewrites])
        except ValueError as error:
            words = f"{group} was edited since: {error}; change it by hand, or see pronoia rules drift"
            raise RuleError(RuleReason.HAND_EDITED, words) from error

    async def _remembered(self, group: str, revision_id: str | None) -> RuleRevision | None:
        history = await self._store.revisions(group=group, limit=10_000)
        return next((one for one in history if one.revision_id == revision_id), None)

    async def recover(self) -> None:
        """Undo what a killed process began and did not see healthy; what people wrote since stays.

        Raises: RuleError where a place does not take its text, once the others were looked at.
        """
        surely_over = self._now() - 2 * self._timeout
        trouble: RuleError | None = None
        for revision in await self.of_state("begun"):
            if revision.created_at_ns / 1e9 < surely_over:
                try:
                    await self._interrupted(revision)
                except RuleError as error:
                    trouble = error
        if trouble is not None:
            raise trouble

    async def _interrupted(self, revision: RuleRevision) -> RuleRevision:
        place = self._place_of(revision.group)
        if is_shadow(revision):
            if not await self._store.revisions(group=revision.group, state="canary", limit=1):
                await self._remove_shadow(revision.group)  # Else a later one runs in its place.
        elif await self._is_in(place, revision):
            await self._restore(revision.group, str(revision.evidence["before"]), expected=revision.content)
        why = revision.reason or "interrupted before it was seen healthy"
        return await self._end(revision, "undone", why)

    async def _is_in(self, place: Place, begun: RuleRevision) -> bool:
        """Whether its text is in its place, and not because a later one with the same text went well."""
        live = await self.live(begun.group)
        later = live is not None and place.same(live.content, begun.content)
        return not later and place.same(await place.read(), begun.content)

    async def undo(self, group: str, why: str) -> RuleRevision:
        """Take back the last step: what was interrupted, a shadow, else what is live. Raises: RuleError."""
        for begun in await self._store.revisions(group=group, state="begun", limit=1):
            return await self._interrupted(begun)
        for shadow in await self._store.revisions(group=group, state="canary", limit=1):
            await self.end_shadow(shadow, why)
            return shadow
        return await self.take_back(group, why)

    async def repair(self, group: str) -> None:
        """Put the live revision's text back over whatever is in its place. Raises: RuleError."""
        live = await self._live(group)
        await self._restore(group, live.content, expected=await self._place_of(group).read())

    async def accept(self, group: str) -> RuleRevision:
        """What people made of the place is theirs again: pronoia's revision is live no longer.

        Raises: RuleError where none is.
        """
        return await self._end(await self._live(group), "superseded", "an edit by hand was accepted")

    async def note(self, revision: RuleRevision, state: str, why: str) -> RuleRevision:
        """A revision that is over, by that name. Raises: StoreError."""
        return await self._end(revision, state, why)

    async def _live(self, group: str) -> RuleRevision:
        live = await self.live(group)
        if live is None:
            raise RuleError(RuleReason.NOT_LOADED, f"{group}: no revision of it is live")
        return live

    async def _remove_shadow(self, group: str) -> None:
        place = self._place_of(group).shadow()
        with place.alone():
            await place.write(None, expected=await place.read())
        await self._placing.reload_quietly(place)

    async def _restore(self, group: str, text: str, *, expected: str | None) -> None:
        place = self._place_of(group)
        with place.alone():
            await place.write(text, expected=expected)
            await self._placing.reload(place)

    def _revision(self, change: Change) -> RuleRevision:
        now_ns = int(self._now() * 1e9)
        digest = hashlib.sha256(change.after.encode()).hexdigest()[:12]
        return RuleRevision(
            revision_id=f"{change.group}-{digest}-{now_ns // 1000:x}",
            group=change.group,
            created_at_ns=now_ns,
            content=change.after,
            content_hash=digest,
            evidence={**change.evidence, "approver": change.approver, "before": change.before},
            checks={},
            state="proposed",
            live_from_ns=now_ns,
        )

    async def _end(self, revision: RuleRevision, state: str, why: str) -> RuleRevision:
        ended = self._ended(revision, state, why)
        await self._store.put_revision(ended)
        return ended

    def _ended(self, revision: RuleRevision, state: str, why: str) -> RuleRevision:
        now_ns = int(self._now() * 1e9)
        return msgspec.structs.replace(revision, state=state, live_until_ns=now_ns, reason=why)
