"""What is not told yet because its alerts usually resolve by themselves; P0 and P1 are never held."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

from sidecar.records import Incident

AT_ONCE = frozenset({"P0", "P1"})
MAX_PASSED = 20_000


class Holding:
    """Sifts incidents before they are told of.

    `wait_seconds(incident)`: how long its alerts usually take to resolve by themselves; 0 where they do not.
    """

    def __init__(self, wait_seconds: Callable[[Incident], float]) -> None:
        self._wait_seconds = wait_seconds
        self._until: dict[str, float] = {}
        self._passed: dict[str, None] = {}
        self._looked_at = 0.0
        self.n_spared = 0
        """Incidents that ended while they were held, and of which nobody was told."""

    def sift(self, incidents: Iterable[Incident], now: float) -> list[Incident]:
        """Those of these incidents that may be told of now."""
        return [incident for incident in incidents if not self._hold(incident, now)]

    def follow(self, gone: str, into: str) -> None:
        """Where an incident went that may have been told of, people must be told, too."""
        if gone in self._passed:
            self._pass(into)

    def due(self, now: float) -> list[str]:
        """Incidents whose wait is over, once."""
        back = self._looked_at - now
        if back > 0.0:  # The clock was set back: a wait is so long by any clock.
            self._until = {incident_id: until - back for incident_id, until in self._until.items()}
        self._looked_at = now
        due = [incident_id for incident_id, until in self._until.items() if until <= now]
        for incident_id in due:
            del self._until[incident_id]
        return due

    def next_due(self) -> float | None:
        """When the next wait is over; None where nothing waits."""
        return min(self._until.values(), default=None)

    def _hold(self, incident: Incident, now: float) -> bool:
        known = incident.incident_id
        if known in self._passed:
            return False
        if incident.state == "resolved" and known in self._until:
            # Its end is told to whoever was told of it before a restart; to nobody, where nobody was.
            del self._until[known]
            self.n_spared += 1
            return False
        if incident.state == "open" and incident.priority not in AT_ONCE:
            wait = self._wait_seconds(incident)
            until = incident.started_at_ns / 1e9 + wait
            if until > now + wait:  # It began by a clock that was set back since.
                until = min(now + wait, self._until.get(known, math.inf))
            if wait and now < until:
                self._until[known] = until
                return True
        self._pass(known)
        return False

    def _pass(self, incident_id: str) -> None:
        self._until.pop(incident_id, None)
        self._passed[incident_id] = None
        if len(self._passed) > MAX_PASSED:
            del self._passed[next(iter(self._passed))]
