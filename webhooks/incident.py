"""An incident as it is stored and told: what correlation groups and the analyst thinks, in one record."""

from __future__ import annotations

from sidecar.records import Episode, Incident
from webhooks.analyst import Verdict
from webhooks.correlate import Group, Link
from webhooks.priority import Urgency

MAX_CAUSES = 10
MAX_NAMES = 3


def describe(group: Group, verdict: Verdict, *, now_ns: int, noise_may_silence: bool = False) -> Incident:
    """The record of a group.

    `noise_may_silence`: whether an incident that would be a page may become P4 while it fires.
    """
    members = group.members.values()
    n_firing = sum(seen.episode.state != "resolved" for seen in members)
    ended_at_ns = None if n_firing else max(s.episode.ends_at_ns or s.episode.last_seen_ns for s in members)
    names = sorted(group.names)
    cause = verdict.causes[0].service if verdict.causes else "unknown"
    more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    urgency = verdict.urgency
    would_page = verdict.if_real is not None and verdict.if_real.priority in ("P0", "P1")
    if verdict.if_real is not None and would_page and n_firing and not noise_may_silence:
        doubt = f"probably noise ({verdict.noise:.0%}), which alone silences no page"
        urgency = Urgency(
            verdict.if_real.priority, verdict.if_real.category, (*verdict.if_real.reasons, doubt)
        )
    doubtful = sorted(verdict.doubts.values(), key=lambda doubt: -doubt.probability)
    return Incident(
        incident_id=group.incident_id,
        tenant=group.tenant,
        title=f"{cause}: {', '.join(names[:MAX_NAMES])}{more}",
        started_at_ns=min(seen.episode.starts_at_ns for seen in members),
        last_change_ns=now_ns,
        ended_at_ns=ended_at_ns,
        state="open" if n_firing else "resolved",
        shared_labels=shared_labels(group),
        causes=verdict.causes[:MAX_CAUSES],
        n_episodes=len(group.members),
        n_firing=n_firing,
        priority=urgency.priority,
        priority_reasons=list(urgency.reasons),
        category=urgency.category,
        noise=round(verdict.noise, 3),
        noise_reasons=list(doubtful[-1].reasons) if doubtful else [],
    )


def merged(incident: Incident, into: str, *, now_ns: int) -> Incident:
    """What is left of an incident that went into another: a record that says where to."""
    return Incident(
        incident_id=incident.incident_id,
        tenant=incident.tenant,
        title=incident.title,
        started_at_ns=incident.started_at_ns,
        last_change_ns=now_ns,
        ended_at_ns=now_ns,
        state="merged",
        priority=incident.priority,
        category=incident.category,
        merged_into=into,
    )


def shared_labels(group: Group) -> dict[str, str]:
    """The labels that all of an incident's alerts carry."""
    shared: dict[str, str] | None = None
    for seen in group.members.values():
        labels = seen.episode.labels
        shared = (
            dict(labels)
            if shared is None
            else {name: value for name, value in shared.items() if labels.get(name) == value}
        )
        if not shared:
            break
    return shared or {}


def bind(episode: Episode, incident_id: str, link: Link | None) -> None:
    """Write into an episode where it belongs, and why."""
    episode.incident_id = incident_id
    episode.bonds = (
        {"all": round(link.strength, 3), **{name: round(value, 3) for name, value in link.dimensions.items()}}
        if link is not None
        else {}
    )
