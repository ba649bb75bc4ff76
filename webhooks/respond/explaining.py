"""Which open incidents are explained by others, by what the configuration says depends on what. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sidecar.config.response import Dependency
from sidecar.records import Incident
from webhooks.respond.routing import labels_of, matches

PARENT_AT_LEAST = "P2"
"""What is less urgent than that explains no other incident away."""


class Explained:
    """The open incidents of one moment, and what of them holds another one back.

    Of incidents that explain each other, in whatever circle, and that nothing else explains, the most
    urgent is told of, and of equals the one that began first: one of them must be.
    """

    def __init__(self, incidents: Iterable[Incident], rules: Sequence[Dependency]) -> None:
        self._child_of: dict[str, frozenset[int]] = {}
        self._parent_by: dict[str, frozenset[int]] = {}
        self._parents: list[list[Incident]] = [[] for _ in rules]
        """By rule, the first of them first."""
        for one in sorted(incidents, key=_order) if rules else ():
            if one.state != "open":
                continue
            labels = labels_of(one)
            explains = one.priority <= PARENT_AT_LEAST
            below = frozenset(n for n, rule in enumerate(rules) if matches(rule.child, labels))
            above = frozenset(n for n, rule in enumerate(rules) if explains and matches(rule.parent, labels))
            self._child_of[one.incident_id], self._parent_by[one.incident_id] = below, above
            for n in above:
                self._parents[n].append(one)
        self._above: dict[frozenset[int], frozenset[int]] = {}

    def why(self, incident: Incident) -> str:
        """What holds it back, in words; empty where nothing does."""
        known = incident.incident_id
        direct = self._child_of.get(known, frozenset())
        parents = [one for n in direct for one in self._parents[n][:2] if one.incident_id != known]
        if not parents:
            return ""
        reached = self._reached(direct)
        first = min((self._parents[n][0] for n in reached if self._parents[n]), key=_order)
        if first.incident_id == known and self._in_circle(known, reached):
            return ""
        return f"incident {min(parents, key=_order).incident_id}, on which it depends, is open"

    def _in_circle(self, known: str, reached: frozenset[int]) -> bool:
        """Whether all that explains an incident, by however many steps, is explained by it as well."""
        own = self._parent_by[known]
        above = {self._child_of[one.incident_id] for n in reached for one in self._parents[n]}
        return all(self._reached(rules) & own for rules in above)

    def _reached(self, rules: frozenset[int]) -> frozenset[int]:
        """The rules by which what these rules' children depend on, and what those depend on, is found."""
        known = self._above.get(rules)
        if known is None:
            found, left = set(rules), list(rules)
            while left:
                new = {n for one in self._parents[left.pop()] for n in self._child_of[one.incident_id]}
                left += new - found
                found |= new
            known = self._above[rules] = frozenset(found)
        return known


def _order(incident: Incident) -> tuple[str, int, str]:
    return incident.priority, incident.started_at_ns, incident.incident_id
