"""What is heard of incidents within the process: an event on the bus and a line in the log for each."""

from __future__ import annotations

from collections.abc import Callable

from sidecar.events import Event, EventBus
from sidecar.records import Incident
from sidecar.telemetry import get_logger


class Announcer:
    """Tells of incidents that are stored."""

    def __init__(self, bus: EventBus, *, now: Callable[[], float]) -> None:
        self._bus = bus
        self._now = now
        self._log = get_logger("alerts-loop")

    def stored(self, incident: Incident, before: Incident | None) -> None:
        """What became of an incident; `before`: its record until now, None for a new one."""
        if before is None and incident.split_from is not None:
            self._tell("incident.split", incident)
        if before is None or before != incident:
            self._tell("incident.opened" if before is None else "incident.updated", incident)
        if incident.state == "resolved" and (before is None or before.state == "open"):
            self._tell("incident.resolved", incident)

    def gone(self, incident: Incident) -> None:
        """One that correlation has no more: it went into another, or its end was found out."""
        self._tell(f"incident.{incident.state}", incident)

    def _tell(self, kind: str, incident: Incident) -> None:
        cause = incident.causes[0] if incident.causes else None
        facts = {
            "incident_id": incident.incident_id,
            "title": incident.title,
            "state": incident.state,
            "cause": cause.service if cause else None,
            "reasons": cause.reasons if cause else [],
            "n_episodes": incident.n_episodes,
            "n_firing": incident.n_firing,
            "priority": incident.priority,
            "category": incident.category,
            "noise": incident.noise,
            "merged_into": incident.merged_into,
            "split_from": incident.split_from,
            "split_reason": incident.split_reason,
        }
        log = self._log.debug if kind == "incident.updated" else self._log.info
        log(kind.replace(".", " "), **facts)
        self._bus.publish(Event(kind, self._now(), facts))
