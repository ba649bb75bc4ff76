"""What a message says: title, text and the document that every channel is handed."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from sidecar.records import DEFAULT_TENANT, Incident
from webhooks.own import INCIDENT_LABEL

WORDS = {
    "opened": "",
    "updated": "update: ",
    "acknowledged": "acknowledged: ",
    "mitigated": "mitigated: ",
    "resolved": "resolved: ",
}
MAX_FACTS = 10
SEVERITIES = {"P0": "critical", "P1": "critical", "P2": "warning", "P3": "info", "P4": "none"}


def title(kind: str, incident: Incident) -> str:
    """One line, whatever labels it is made of.

    >>> title("resolved", Incident("i", "t", "db\\n1: Down", 0, 0, priority="P1"))
    '[P1] resolved: db 1: Down'
    """
    word = f"merged into {incident.merged_into}: " if kind == "merged" else WORDS.get(kind, "")
    return " ".join(f"[{incident.priority}] {word}{incident.title}".split())[:250]


def text(kind: str, incident: Incident, facts: Mapping[str, Any] | None = None) -> str:
    """A few lines for people."""
    facts = facts or {}
    lines = []
    if kind == "merged":
        what = f" ({facts['into']})" if facts.get("into") else ""
        return (
            f"Its alerts are part of incident {incident.merged_into}{what} now: follow that one.\n"
            f"{_had(facts)}Of {incident.incident_id} nothing more is told."
        )
    if facts.get("acknowledged_by") and kind in ("acknowledged", "mitigated"):
        lines.append(f"{kind.capitalize()} by {facts['acknowledged_by']}")
    if facts.get("open_again") and kind == "updated":
        lines.append(f"Taken on by nobody: {facts['open_again']}")
    if incident.split_from:
        lines.append(f"Came out of incident {incident.split_from}: {incident.split_reason}")
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
    for found in (facts.get("values"), facts.get("facts")):
        lines += [f"{name}: {value}" for name, value in list((found or {}).items())[:MAX_FACTS]]
    if facts.get("before"):
        lines.append(f"Seen before: {facts['before']}")
    if facts.get("experts"):
        lines.append(f"Took on such before: {facts['experts']}")
    if facts.get("team"):
        lines.append(f"Team {facts['team']}" + (f", {facts['assignee']}" if facts.get("assignee") else ""))
    lines.append(f"Since {stamp(incident.started_at_ns)}; incident {incident.incident_id}")
    return "\n".join(lines)


def _had(facts: Mapping[str, Any]) -> str:
    """What became of it that somebody had taken an incident on that went into another one."""
    if not facts.get("acknowledged_by") or not facts.get("into_status"):
        return ""
    return f"{facts['acknowledged_by']} had taken it on; that one is {facts['into_status']}.\n"


def document(
    kind: str,
    incident: Incident,
    *,
    key: str,
    status: str | None = None,
    facts: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The generic webhook's body, version 1, and what templates and channels draw from."""
    facts = facts or {}
    return {
        "version": "1",
        "kind": kind,
        "status": status or incident.state,
        "idempotency_key": key,
        "title": title(kind, incident),
        "text": text(kind, incident, facts),
        "links": dict(facts.get("links") or {}),
        "incident": {
            "incident_id": incident.incident_id,
            "tenant": incident.tenant,
            "title": incident.title,
            "state": incident.state,
            "priority": incident.priority,
            "category": incident.category,
            "team": str(facts.get("team") or ""),
            "assignee": str(facts.get("assignee") or ""),
            "started_at": stamp(incident.started_at_ns),
            "ended_at": stamp(incident.ended_at_ns) if incident.ended_at_ns is not None else None,
            "n_episodes": incident.n_episodes,
            "n_firing": incident.n_firing,
            "noise": incident.noise,
            "shared_labels": incident.shared_labels,
            "causes": [
                {"service": cause.service, "score": cause.score, "reasons": cause.reasons}
                for cause in incident.causes[:5]
            ],
            "merged_into": incident.merged_into,
            "split_from": incident.split_from,
            "facts": dict(facts.get("facts") or {}),
            "values": dict(facts.get("values") or {}),
        },
    }


def report(name: str, title: str, text: str, *, key: str) -> dict[str, Any]:
    """A document that tells of no incident, in the form of those that do."""
    nobody = Incident(name, DEFAULT_TENANT, title, 0, 0, state="resolved", ended_at_ns=0)
    return {**document("report", nobody, key=key), "title": title, "text": text}


def incident_labels(incident: Mapping[str, Any]) -> dict[str, str]:
    """The labels under which an incident stands as an alert: its own, and what all its alerts share."""
    own = {
        "alertname": "PronoiaIncident",
        INCIDENT_LABEL: str(incident["incident_id"]),
        "source": "pronoia",
        "severity": SEVERITIES.get(str(incident["priority"]), "warning"),
        "priority": str(incident["priority"]),
        "category": str(incident["category"]),
        "team": str(incident.get("team") or ""),
        "cause": str(incident["causes"][0]["service"]) if incident["causes"] else "",
    }
    return {**incident["shared_labels"], **{name: value for name, value in own.items() if value}}


def stamp(time_ns: int) -> str:
    """A time as people and programs write it: RFC 3339, UTC, whole seconds."""
    return datetime.fromtimestamp(time_ns // 1_000_000_000, UTC).isoformat().replace("+00:00", "Z")
