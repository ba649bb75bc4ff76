"""When an incident is told of: once, settled; again where that changes what people do; at its end.

Pure: an incident, what was told of it so far, and the time give a kind of message or none.
"""

from __future__ import annotations

from dataclasses import dataclass

from sidecar.records import Incident

URGENT = frozenset({"P0", "P1"})
GROWN = 2.0
"""An incident that has so many times the alerts it had when told of is worth another message."""


@dataclass(frozen=True, slots=True)
class Told:
    """What a target was last told of an incident."""

    kind: str
    at_ns: int
    priority: str
    n_episodes: int
    n_messages: int


def decide(
    incident: Incident,
    told: Told | None,
    *,
    min_priority: str,
    settled_at_ns: int,
    update_interval_ns: int,
    now_ns: int,
) -> str | None:
    """opened, updated, resolved or merged; None where nothing is to be told.

    `settled_at_ns`: from then on the incident is not expected to go into another; the urgent
    do not wait for it. What is less urgent than `min_priority`, and so noise, is never told of.
    """
    if told is None:
        if incident.state != "open" or incident.priority > min_priority:
            return None
        if incident.priority not in URGENT and now_ns < settled_at_ns:
            return None
        return "opened"
    if told.kind in ("resolved", "merged"):
        # A late alert may open it anew: that is said as an update, not as another page.
        reopened = told.kind == "resolved" and incident.state == "open" and incident.priority <= min_priority
        return "updated" if reopened else None
    if incident.state in ("resolved", "merged"):
        return incident.state
    if incident.priority < told.priority and incident.priority in URGENT:
        return "updated"
    if now_ns - told.at_ns < update_interval_ns:
        return None
    worse = incident.priority < told.priority
    grown = incident.n_episodes >= GROWN * max(told.n_episodes, 1)
    return "updated" if worse or grown else None
