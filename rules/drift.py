"""Whether a group's text is the same in the store, in its place and in Prometheus."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from rules.adapt.canary import canary_text, is_shadow, rewrites_of, shadows
from rules.adapt.place import Place
from rules.publisher import Found, RulePublisher
from rules.read import WrittenRule
from rules.verify import is_revision, meaning, members
from sidecar.prometheus.answers import Rule
from sidecar.records import RuleRevision

LATEST = 10
"""Of so many revisions of a group the text may be in its place in passing."""

ON_ITS_WAY = ("begun", "proposed")


@dataclass(frozen=True, slots=True)
class Drift:
    """One revision, live or only begun, what is in its place, and whether Prometheus runs it.

    `instead`: what of pronoia's own is in its place in its stead, in words. `under_way`: a publication
    that began a moment ago explains it.
    """

    group: str
    revision: str
    in_place: Found
    loaded: bool
    state: str = "live"
    instead: str = ""
    under_way: bool = False

    @property
    def fine(self) -> bool:
        """True where all three agree on what is live, or will in a moment."""
        return self.under_way or (self.state == "live" and self.in_place is Found.SAME and self.loaded)


async def drift_of(
    revision: RuleRevision,
    publisher: RulePublisher,
    loaded: Sequence[Rule],
    *,
    history: Sequence[RuleRevision] = (),
    lately_ns: float = math.inf,
) -> Drift:
    """Of a group that pronoia generates.

    `history`: its revisions, newest first, read after what is loaded. `lately_ns`: what began since then
    may be under way. Raises: RuleError.
    """
    there = await publisher.found(revision.group, revision.content)
    runs = is_revision(members(loaded, revision.content), revision.content_hash)

    async def is_there(text: str) -> bool:
        return await publisher.says_one_of(revision.group, [text])

    other = await _other(revision, history, is_there) if there is Found.OTHER else None
    return _drift(revision, there, runs, other, lately_ns)


async def drift_of_place(
    revision: RuleRevision,
    place: Place,
    loaded: Sequence[WrittenRule],
    *,
    history: Sequence[RuleRevision] = (),
    lately_ns: float = math.inf,
) -> Drift:
    """Of a place of people's own that pronoia rewrote; loaded where Prometheus has each rewritten rule so.

    Raises: RuleError.
    """
    rewrites = rewrites_of(revision)
    content, wanted = revision.content, [new for _, new in rewrites]
    if is_shadow(revision):
        place, content, wanted = place.shadow(), canary_text(rewrites), shadows(rewrites)
    text = await place.read()
    there = Found.ABSENT if text is None else Found.SAME if place.same(text, content) else Found.OTHER
    has = {meaning(rule) for rule in loaded}
    runs = all(meaning(rule) in has for rule in wanted)

    async def is_there(content: str) -> bool:
        return place.same(text, content)

    looks = there is Found.OTHER and not is_shadow(revision)
    other = await _other(revision, history, is_there) if looks else None
    before = revision.evidence.get("before")
    if looks and other is None and isinstance(before, str) and place.same(text, before):
        return Drift(
            revision.group, revision.content_hash, there, runs, revision.state, "what was there before it"
        )
    return _drift(revision, there, runs, other, lately_ns)


async def _other(
    revision: RuleRevision, history: Sequence[RuleRevision], is_there: Callable[[str], Awaitable[bool]]
) -> RuleRevision | None:
    """The revision of the group whose text is in its place."""
    for one in history[:LATEST]:
        if one.revision_id != revision.revision_id and await is_there(one.content):
            return one
    return None


def _drift(
    revision: RuleRevision, there: Found, runs: bool, other: RuleRevision | None, lately_ns: float
) -> Drift:
    on_its_way = other if revision.state == "live" else revision
    under_way = on_its_way is not None and (
        # What has gone live since the list of live ones was read is no drift either.
        on_its_way.state == "live"
        or (on_its_way.state in ON_ITS_WAY and on_its_way.created_at_ns >= lately_ns)
    )
    instead = f"{other.content_hash} ({other.state})" if other is not None else ""
    return Drift(revision.group, revision.content_hash, there, runs, revision.state, instead, under_way)
