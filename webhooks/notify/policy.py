"""When an incident is told of: once, settled; again where that changes what people do; at its end.

Pure: an incident, what was told of it so far, and the time give a kind of message or none.
"""

from __future__ import annotations

from dataclasses import dataclass

from sidecar.records import Incident, OutboxMessage

URGENT = frozenset({"P0", "P1"})
GROWN = 2.0
"""An incident that has so many times the alerts it had when told of is worth another message."""

TAKEN = frozenset({"acknowledged", "mitigated"})
ENDED = frozenset({"resolved", "merged"})
MOVED = "moved"
"""Another target was told in this one's place; here only its end is told, in case a try did arrive."""


@dataclass(frozen=True, slots=True)
class Told:
    """What a target was last told of an incident."""

    kind: str
    at_ns: int
    priority: str
    n_episodes: int
    n_messages: int
    status: str = "open"

    @classmethod
    def by(cls, message: OutboxMessage) -> Told:
        """What a message says that was made, whether it has arrived yet or not."""
        kind = MOVED if message.fallback and message.kind not in ENDED else message.kind
        status = str(message.document.get("status", "open"))
        return cls(kind, message.created_at_ns, message.priority, message.n_episodes, message.number, status)


def decide(
    incident: Incident,
    told: Told | None,
    *,
    min_priority: str,
    settled_at_ns: int,
    update_interval_ns: int,
    now_ns: int,
    status: str = "open",
) -> str | None:
    """opened, updated, acknowledged, mitigated, resolved or merged; None where nothing is to be told.

    `settled_at_ns`: from then on the incident is not expected to go into another; the urgent
    do not wait for it. What is less urgent than `min_priority`, and so noise, is never told of.
    """
    if told is None:
        if incident.state != "open" or incident.priority > min_priority:
            return None
        if incident.priority not in URGENT and now_ns < settled_at_ns:
            return None
        # Who has it already is told of it, and called by nothing.
        return status if status in TAKEN else "opened"
    if told.kind in ENDED:
        # A late alert may open it anew: that is said as an update, not as another page.
        reopened = told.kind == "resolved" and incident.state == "open" and incident.priority <= min_priority
        return "updated" if reopened else None
    if incident.state in ENDED:
        return incident.state
    if told.kind == MOVED:
        return None
    if status in TAKEN and status != told.status:
        return status
    if told.status in TAKEN and status not in TAKEN:
        return "updated"  # Who believes that somebody has it must hear that nobody has.
    if incident.priority < told.priority and incident.priority in URGENT:
        return "updated"
    if 0 <= now_ns - told.at_ns < update_interval_ns:  # The clock may have been set back since.
        return None
    worse = incident.priority < told.priority
    grown = incident.n_episodes >= GROWN * max(told.n_episodes, 1)
    return "updated" if worse or grown else None
