"""Whether a group's text is the same in the store, in its place and in Prometheus."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rules.adapt.place import path_of
from rules.publisher import Found, RulePublisher
from rules.verify import is_revision, members
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


def drift_of_file(revision: RuleRevision, loaded: Sequence[Rule]) -> Drift:
    """Of a file of people's own that pronoia rewrote; loaded where Prometheus has rules of it."""
    path = path_of(revision.group)
    try:
        same = path.read_text(encoding="utf-8") == revision.content
        there = Found.SAME if same else Found.OTHER
    except OSError:
        there = Found.ABSENT
    return Drift(revision.group, revision.content_hash, there, any(rule.file == str(path) for rule in loaded))
