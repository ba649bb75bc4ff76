"""Incidents and a clock for the tests of responding."""

from __future__ import annotations

from typing import Any

from sidecar.records import Cause, Incident

NOW = 1_750_000_000.0


def incident(name: str = "i1", **fields: Any) -> Incident:
    at_ns = int(NOW * 1e9)
    given: dict[str, Any] = {
        "title": "db: Down",
        "started_at_ns": at_ns,
        "last_change_ns": at_ns,
        "priority": "P2",
        "n_episodes": 3,
        "n_firing": 3,
        "category": "availability",
        "causes": [Cause("f", "db", 1.0, ["alerted first"])],
        **fields,
    }
    return Incident(incident_id=name, tenant="default", **given)


class Clock:
    """A clock that is set by hand."""

    def __init__(self, now: float = NOW) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now
