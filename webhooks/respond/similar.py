"""Past incidents that looked like this one, and what fixed them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass

from sidecar.records import Incident, Response

ENOUGH = 0.5
"""Below it two incidents have as much in common as any two of one system."""
MAX_FOUND = 5
W_CAUSE, W_TITLE, W_LABELS, W_CATEGORY = 0.4, 0.3, 0.2, 0.1


@dataclass(frozen=True, slots=True)
class Similar:
    """One past incident."""

    incident_id: str
    title: str
    similarity: float
    started_at_ns: int
    lasted_seconds: float | None
    cause: str
    fix: str
    assignee: str


def similarity(one: Incident, other: Incident) -> float:
    """How much two incidents look alike, 0..1: cause, what alerted, shared labels, category."""
    cause = float(bool(one.causes and other.causes) and one.causes[0].service == other.causes[0].service)
    title = _jaccard(_names(one), _names(other))
    labels = _jaccard(set(one.shared_labels.items()), set(other.shared_labels.items()))
    category = float(bool(one.category) and one.category == other.category)
    return W_CAUSE * cause + W_TITLE * title + W_LABELS * labels + W_CATEGORY * category


def similar(incident: Incident, past: Iterable[Incident], responses: Mapping[str, Response]) -> list[Similar]:
    """The past incidents most like this one; of equally like ones, those of which a fix is known first."""
    found = []
    for other in past:
        if other.incident_id == incident.incident_id or other.state != "resolved":
            continue
        alike = similarity(incident, other)
        if alike < ENOUGH:
            continue
        response = responses.get(other.incident_id)
        ended = other.ended_at_ns
        found.append(
            Similar(
                incident_id=other.incident_id,
                title=other.title,
                similarity=round(alike, 3),
                started_at_ns=other.started_at_ns,
                lasted_seconds=None if ended is None else (ended - other.started_at_ns) / 1e9,
                cause=(response.cause if response else "")
                or (other.causes[0].service if other.causes else ""),
                fix=response.fix if response else "",
                assignee=response.assignee if response else "",
            )
        )
    found.sort(key=lambda one: (-one.similarity, not one.fix, -one.started_at_ns))
    return found[:MAX_FOUND]


def in_words(found: Iterable[Similar]) -> str:
    """One line for a message: how often, and what helped the last time; empty where nothing is known."""
    found = list(found)
    if not found:
        return ""
    fixed = next((one for one in found if one.fix), None)
    helped = f"; what helped in {fixed.incident_id}: {' '.join(fixed.fix.split())[:200]}" if fixed else ""
    return f"{len(found)} like it{helped}"


def _names(incident: Incident) -> set[str]:
    _, _, names = incident.title.partition(": ")
    return {name.strip() for name in names.split(" and ")[0].split(",") if name.strip()}


def _jaccard(one: Set[object], other: Set[object]) -> float:
    both = one | other
    return len(one & other) / len(both) if both else 0.0
