"""Thresholds that are exported as series: remembered as revisions, changed without touching any rule."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np

from rules.adapt.bounds import Bound, ByHour, Static, Trend
from rules.adapt.history import Adapted
from rules.adapt.joined import series_key
from rules.adapt.place import THRESHOLD
from rules.adapt.solve import Proposal
from rules.learn import HOURS, Segment, Threshold
from sidecar.errors import RuleError, RuleReason
from sidecar.ports import RuleStore
from sidecar.records import RuleRevision
from sidecar.series import LabelSet


class ThresholdSeries:
    """The thresholds of joined rules; which of them are live, only the store knows."""

    def __init__(self, store: RuleStore, *, now: Callable[[], float] = time.time) -> None:
        self._store = store
        self._now = now

    async def live(self) -> list[RuleRevision]:
        """The revision of each threshold that is exported."""
        return await self.of_state("live")

    async def of_state(self, state: str) -> list[RuleRevision]:
        """Revisions that are live or wait (proposed)."""
        found = await self._store.revisions(state=state, limit=10_000)
        return [revision for revision in found if revision.group.startswith(THRESHOLD)]

    async def values(self) -> dict[LabelSet, float]:
        """What is to be exported now, by labels."""
        found = {}
        for revision in await self.live():
            key = revision.group.removeprefix(THRESHOLD)
            labels = LabelSet({"rule": str(revision.evidence["name"]), "key": series_key(key)})
            found[labels] = value_at(revision.content, self._now())
        return found

    async def bounds(self) -> dict[str, Bound]:
        """What is exported at every hour, by series' key."""
        return {
            series_key(revision.group.removeprefix(THRESHOLD)): bound_of(revision.content)
            for revision in await self.live()
        }

    async def current(self) -> dict[str, float]:
        """By rule's key, the number that holds, where it is the same at every hour."""
        return {
            revision.group.removeprefix(THRESHOLD): value_at(revision.content, self._now())
            for revision in await self.live()
            if json.loads(revision.content)["form"] == Static.form
        }

    async def put(
        self, adapted: Adapted, evidence: dict[str, object], *, approver: str
    ) -> RuleRevision | None:
        """Export another threshold from now on; None where it is that one already."""
        revision = await self._new(adapted, evidence)
        if revision is None:
            return None
        return await self._go_live(revision, approver)

    async def propose(self, adapted: Adapted, evidence: dict[str, object]) -> RuleRevision | None:
        """Remember it until a person approves; None where it waits already, is live or was refused."""
        revision = await self._new(adapted, evidence)
        if revision is None:
            return None
        for older in await self._store.revisions(group=revision.group, limit=1000):
            if older.content == revision.content and older.state in ("proposed", "rejected"):
                return None
            if older.state == "proposed":
                await self._store.put_revision(
                    msgspec.structs.replace(older, state="superseded", reason="proposed anew")
                )
        await self._store.put_revision(revision)
        return revision

    async def approve(self, revision: RuleRevision, *, approver: str) -> RuleRevision:
        """A proposal that waited is exported. Raises: RuleError where it does not wait."""
        if revision.state != "proposed":
            raise RuleError(
                RuleReason.NOT_APPLICABLE,
                f"revision {revision.content_hash} is {revision.state}, not proposed",
            )
        return await self._go_live(revision, approver)

    async def take_back(self, group: str, why: str) -> RuleRevision | None:
        """Export what was before; None: nothing, so that the rule's own number holds.

        Raises: RuleError where none is live.
        """
        history = await self._store.revisions(group=group, limit=200)
        live = next((one for one in history if one.state == "live"), None)
        if live is None:
            raise RuleError(RuleReason.NOT_LOADED, f"{group}: no revision of it is live")
        now_ns = int(self._now() * 1e9)
        ended = msgspec.structs.replace(live, state="rolled_back", live_until_ns=now_ns, reason=why)
        before = next((one for one in history if one.revision_id == live.replaces), None)
        if before is None or before.state != "superseded":
            await self._store.put_revision(ended)
            return None
        back = msgspec.structs.replace(before, state="live", live_from_ns=now_ns, live_until_ns=None)
        await self._store.put_revision(ended, back)
        return back

    async def _new(self, adapted: Adapted, evidence: dict[str, object]) -> RuleRevision | None:
        assert isinstance(adapted.outcome, Proposal)
        group = f"{THRESHOLD}{adapted.rule.key}"
        content = content_of(adapted.outcome.candidate.bound)
        live = next(iter(await self._store.revisions(group=group, state="live", limit=1)), None)
        if live is not None and live.content == content:
            return None
        now_ns = int(self._now() * 1e9)
        digest = hashlib.sha256(f"{group} {content}".encode()).hexdigest()[:12]
        return RuleRevision(
            revision_id=f"{group}-{digest}-{now_ns // 1000:x}",
            group=group,
            created_at_ns=now_ns,
            content=content,
            content_hash=digest,
            evidence={**evidence, "name": adapted.rule.name, "before": live.content if live else ""},
            checks={},
            state="proposed",
            replaces=live.revision_id if live else None,
        )

    async def _go_live(self, revision: RuleRevision, approver: str) -> RuleRevision:
        now_ns = int(self._now() * 1e9)
        ended = [
            msgspec.structs.replace(live, state="superseded", live_until_ns=now_ns)
            for live in await self._store.revisions(group=revision.group, state="live", limit=10)
        ]
        evidence = {**revision.evidence, "approver": approver}
        done = msgspec.structs.replace(revision, state="live", live_from_ns=now_ns, evidence=evidence)
        await self._store.put_revision(*ended, done)
        return done


def content_of(bound: Bound) -> str:
    """A bound as the store keeps it.

    >>> content_of(Static(5.0))
    '{"form": "static", "value": 5.0}'
    """
    told: dict[str, Any] = {"form": bound.form}
    if isinstance(bound, ByHour):
        told["by_hour"] = bound.table.by_hour()
    elif isinstance(bound, Trend):
        told |= {
            "at_zero": bound.at_zero,
            "per_second": bound.per_second,
            "zero_seconds": bound.zero_seconds,
            "until_seconds": bound.until_seconds,
        }
    elif isinstance(bound, Static):
        told["value"] = bound.value
    return json.dumps(told)


def value_at(content: str, now_seconds: float) -> float:
    """The threshold that such a text means at a time (seconds since the epoch).

    >>> value_at('{"form": "static", "value": 5.0}', 0.0)
    5.0
    """
    return float(bound_of(content).at(np.array([round(now_seconds * 1000)]))[0])


def bound_of(content: str) -> Bound:
    """The bound that such a text keeps; what a table was learned from is not in it."""
    told = json.loads(content)
    if told["form"] == ByHour.form:
        return ByHour(_table_of(told["by_hour"]))
    if told["form"] == Trend.form:
        return Trend(told["at_zero"], told["per_second"], told["zero_seconds"], told["until_seconds"])
    return Static(float(told["value"]))


def _table_of(by_hour: list[float]) -> Threshold:
    """A week's numbers by hour as the fewest segments of a day, or else of the week."""
    period = 24 if by_hour == by_hour[:24] * 7 else HOURS
    starts = [hour for hour in range(period) if hour == 0 or by_hour[hour] != by_hour[hour - 1]]
    ends = [*starts[1:], period]
    segments = (Segment(first, end, by_hour[first]) for first, end in zip(starts, ends, strict=True))
    return Threshold(LabelSet(), period, tuple(segments))
