"""Whether a group's text is the same in the store, in its place and in Prometheus."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rules.adapt.canary import canary_text, is_shadow, rewrites_of, shadows
from rules.adapt.place import Place
from rules.publisher import Found, RulePublisher
from rules.read import WrittenRule
from rules.verify import is_revision, meaning, members
from sidecar.prometheus.answers import Rule
from sidecar.records import RuleRevision


@dataclass(frozen=True, slots=True)
class Drift:
    """One revision, live or only begun, what is in its place, and whether Prometheus runs it."""

    group: str
    revision: str
    in_place: Found
    loaded: bool
    state: str = "live"

    @property
    def fine(self) -> bool:
        """True where all three agree on what is live."""
        return self.state == "live" and self.in_place is Found.SAME and self.loaded


async def drift_of(revision: RuleRevision, publisher: RulePublisher, loaded: Sequence[Rule]) -> Drift:
    """Of a group that pronoia generates. Raises: RuleError."""
    there = await publisher.found(revision.group, revision.content)
    runs = is_revision(members(loaded, revision.content), revision.content_hash)
    return Drift(revision.group, revision.content_hash, there, runs)


async def drift_of_place(revision: RuleRevision, place: Place, loaded: Sequence[WrittenRule]) -> Drift:
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
    return Drift(revision.group, revision.content_hash, there, runs, revision.state)
