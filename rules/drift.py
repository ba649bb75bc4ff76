"""Whether a group's text is the same in the store, in its place and in Prometheus."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rules.adapt.canary import rewrites_of
from rules.adapt.place import Place
from rules.publisher import Found, RulePublisher
from rules.read import WrittenRule
from rules.verify import is_revision, meaning, members
from sidecar.prometheus.answers import Rule
from sidecar.records import RuleRevision


@dataclass(frozen=True, slots=True)
class Drift:
    """One live revision, what is in its place, and whether Prometheus runs it."""

    group: str
    revision: str
    in_place: Found
    loaded: bool

    @property
    def fine(self) -> bool:
        """True where all three agree."""
        return self.in_place is Found.SAME and self.loaded


async def drift_of(revision: RuleRevision, publisher: RulePublisher, loaded: Sequence[Rule]) -> Drift:
    """Of a group that pronoia generates. Raises: RuleError."""
    there = await publisher.found(revision.group, revision.content)
    runs = is_revision(members(loaded, revision.group), revision.content_hash)
    return Drift(revision.group, revision.content_hash, there, runs)


async def drift_of_place(revision: RuleRevision, place: Place, loaded: Sequence[WrittenRule]) -> Drift:
    """Of a place of people's own that pronoia rewrote; loaded where Prometheus has each rewritten rule so.

    Raises: RuleError.
    """
    text = await place.read()
    there = (
        Found.ABSENT if text is None else Found.SAME if place.same(text, revision.content) else Found.OTHER
    )
    has = {meaning(rule) for rule in loaded}
    runs = all(meaning(new) in has for _, new in rewrites_of(revision))
    return Drift(revision.group, revision.content_hash, there, runs)
