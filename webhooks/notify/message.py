"""What a message says: title, text and the JSON of the generic webhook."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sidecar.records import Incident

WORDS = {"opened": "", "updated": "update: ", "resolved": "resolved: ", "merged": "merged: "}


def title(kind: str, incident: Incident) -> str:
    """One line.

    >>> title("resolved", Incident("i", "t", "db: Down", 0, 0, priority="P1"))
    '[P1] resolved: db: Down'
    """
    return f"[{incident.priority}] {WORDS.get(kind, '')}{incident.title}"[:250]


def text(kind: str, incident: Incident) -> str:
    """A few lines for people."""
    lines = []
    if kind == "merged":
        return f"This is part of incident {incident.merged_into}; follow that one."
    if incident.causes:
        cause = incident.causes[0]
        lines.append(f"Probable cause: {cause.service} ({'; '.join(cause.reasons[:3])})")
    if len(incident.causes) > 1:
        lines.append("Next: " + ", ".join(cause.service for cause in incident.causes[1:4]))
    if incident.priority_reasons:
        lines.append(f"Priority {incident.priority}: {'; '.join(incident.priority_reasons)}")
    lines.append(
        f"{incident.n_firing} of {incident.n_episodes} alerts fire; {incident.category or 'no category'}"
    )
    lines.append(f"Since {_stamp(incident.started_at_ns)}; incident {incident.incident_id}")
    return "\n".join(lines)


def document(kind: str, incident: Incident, *, key: str) -> dict[str, Any]:
    """The generic webhook's body, version 1."""
    return {
        "version": "1",
        "kind": kind,
        "idempotency_key": key,
        "title": title(kind, incident),
        "text": text(kind, incident),
        "incident": {
            "incident_id": incident.incident_id,
            "tenant": incident.tenant,
            "title": incident.title,
            "state": incident.state,
            "priority": incident.priority,
            "category": incident.category,
            "started_at": _stamp(incident.started_at_ns),
            "ended_at": _stamp(incident.ended_at_ns) if incident.ended_at_ns is not None else None,
            "n_episodes": incident.n_episodes,
            "n_firing": incident.n_firing,
            "noise": incident.noise,
            "shared_labels": incident.shared_labels,
            "causes": [
                {"service": cause.service, "score": cause.score, "reasons": cause.reasons}
                for cause in incident.causes[:5]
            ],
            "merged_into": incident.merged_into,
        },
    }


def _stamp(time_ns: int) -> str:
    return datetime.fromtimestamp(time_ns // 1_000_000_000, UTC).isoformat().replace("+00:00", "Z")
