"""What else happened lately, by entity: anomalies in the metrics, and changes that people made."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable
from typing import TypeVar

import msgspec

T = TypeVar("T", "Change", "Anomaly", "Precedence")

KEPT_SECONDS = 6 * 3600.0
MAX_ENTITIES = 20_000
MAX_EACH = 50

RECENT_CHANGE_SECONDS = 1800.0
"""A change that old is no suspect any more."""

EARLY_SECONDS, LATE_SECONDS = 600.0, 120.0
"""A metric goes wrong before its alert fires, by the rule's `for` and more, and hardly after it."""


class Change(msgspec.Struct, frozen=True, order=True):
    """Something that was changed: when, in seconds, what kind (deploy, scale, flag), and in words."""

    at: float
    kind: str
    text: str = ""


class Anomaly(msgspec.Struct, frozen=True, order=True):
    """A series that left what was expected of it: since when, how far (1 is the edge), by which query."""

    at: float
    score: float
    query: str


class Precedence(msgspec.Struct, frozen=True, order=True):
    """The metric behind an alert moves before another's: asked when, whose, by how much, by what chance."""

    at: float
    follower: str
    lag_seconds: float
    chance: float


class _Facts(msgspec.Struct):
    changes: list[Change] = []
    anomalies: list[Anomaly] = []
    precedences: list[Precedence] = []


class Evidence:
    """Facts of the last hours; bounded, the oldest leave first."""

    def __init__(self) -> None:
        self._facts: dict[str, _Facts] = {}

    def __bool__(self) -> bool:
        return bool(self._facts)

    def add_change(self, entities: Iterable[str], change: Change) -> None:
        """Take a change of these entities; one that is known already changes nothing."""
        for entity in entities:
            _keep(self._of(entity).changes, change)

    def add_anomaly(self, entity: str, anomaly: Anomaly) -> None:
        """Take a series of an entity that went wrong."""
        _keep(self._of(entity).anomalies, anomaly)

    def add_precedence(self, leader: str, precedence: Precedence) -> None:
        """Take that an entity's metric moves before another's; what was found before of the two is over."""
        facts = self._of(leader)
        others = [one for one in facts.precedences if one.follower != precedence.follower]
        facts.precedences = [*others, precedence][-MAX_EACH:]

    def precedences(self, leader: str, since: float) -> list[Precedence]:
        """Before whose metrics an entity's moves, as far as that was found since a time."""
        facts = self._facts.get(leader)
        return [one for one in facts.precedences if one.at >= since] if facts else []

    def change_before(self, entity: str, at: float) -> Change | None:
        """The latest change of an entity within half an hour before a time."""
        facts = self._facts.get(entity)
        for change in reversed(facts.changes if facts else ()):
            if change.at <= at:
                return change if at - change.at <= RECENT_CHANGE_SECONDS else None
        return None

    def anomaly_near(self, entity: str, onset: float) -> Anomaly | None:
        """The first anomaly of an entity that its alert of that onset may tell of."""
        facts = self._facts.get(entity)
        if facts is None:
            return None
        at = bisect_left(facts.anomalies, onset - EARLY_SECONDS, key=lambda anomaly: anomaly.at)
        found = facts.anomalies[at : at + 1]
        return found[0] if found and found[0].at <= onset + LATE_SECONDS else None

    def change_since(self, entity: str, at: float) -> Change | None:
        """The latest change of an entity, where it is younger than that."""
        facts = self._facts.get(entity)
        return facts.changes[-1] if facts and facts.changes and facts.changes[-1].at >= at else None

    def changed_since(self, at: float) -> list[str]:
        """Entities with a change since then."""
        return [name for name, facts in self._facts.items() if facts.changes and facts.changes[-1].at >= at]

    def changes(self) -> list[tuple[str, float, str, str]]:
        """Every change that is known, as plain data."""
        return [
            (entity, change.at, change.kind, change.text)
            for entity, facts in self._facts.items()
            for change in facts.changes
        ]

    def recall(self, changes: Iterable[tuple[str, float, str, str]]) -> None:
        """Take in what `changes` gave before a restart."""
        for entity, at, kind, text in changes:
            self.add_change([entity], Change(at, kind, text))

    def forget(self, before: float) -> None:
        """Drop what is older."""
        for entity, facts in list(self._facts.items()):
            facts.changes = [change for change in facts.changes if change.at >= before]
            facts.anomalies = [anomaly for anomaly in facts.anomalies if anomaly.at >= before]
            facts.precedences = [one for one in facts.precedences if one.at >= before]
            if not facts.changes and not facts.anomalies and not facts.precedences:
                del self._facts[entity]

    def _of(self, entity: str) -> _Facts:
        facts = self._facts.pop(entity, None) or _Facts()
        self._facts[entity] = facts  # In the order of last news.
        if len(self._facts) > MAX_ENTITIES:
            del self._facts[next(iter(self._facts))]
        return facts


def _keep(kept: list[T], one: T) -> None:
    if one in kept:
        return
    insort(kept, one)
    if len(kept) > MAX_EACH:
        del kept[0]
