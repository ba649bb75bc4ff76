"""An incident as it is stored and told: what correlation groups and the analyst thinks, in one record."""

from __future__ import annotations

from msgspec.structs import replace

from sidecar.records import Episode, Incident
from webhooks.correlate.group import Group, Link
from webhooks.judge.analyst import Verdict
from webhooks.judge.priority import Urgency

MAX_CAUSES = 10
MAX_NAMES, MAX_NAME = 3, 200


def describe(group: Group, verdict: Verdict, *, now_ns: int, noise_may_silence: bool = False) -> Incident:
    """The record of a group.

    `noise_may_silence`: whether an incident that would be a page may become P4 while it fires.
    """
    n_firing = len(group.firing)
    ended = group.ended()
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
        title=f"{cause[:MAX_NAME]}: {', '.join(name[:MAX_NAME] for name in names[:MAX_NAMES])}{more}",
        started_at_ns=group.starts_at_ns,
        last_change_ns=now_ns,
        ended_at_ns=None if ended is None else int(ended * 1e9),
        state="open" if ended is None else "resolved",
        shared_labels=group.shared or {},
        causes=verdict.causes[:MAX_CAUSES],
        n_episodes=group.n_alerts,
        n_firing=n_firing,
        priority=urgency.priority,
        priority_reasons=[*urgency.reasons, *_flapping(group)],
        category=urgency.category,
        noise=round(verdict.noise, 3),
        noise_reasons=list(doubtful[-1].reasons) if doubtful else [],
        split_from=group.split.out_of if group.split is not None else None,
        split_reason=group.split.reason if group.split is not None else "",
    )


def _flapping(group: Group) -> list[str]:
    n = len(group.flapping)
    return [f"{n} of its alerts flap; it is not over in their pauses"] if n else []


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


def ended(incident: Incident, *, now_ns: int) -> Incident:
    """The record of an incident whose end nobody saw: it is over since it last changed."""
    return replace(
        incident, state="resolved", ended_at_ns=incident.last_change_ns, last_change_ns=now_ns, n_firing=0
    )


def bind(episode: Episode, incident_id: str, link: Link | None) -> None:
    """Write into an episode where it belongs, and why."""
    episode.incident_id = incident_id
    episode.bonds = (
        {"all": round(link.strength, 3), **{name: round(value, 3) for name, value in link.dimensions.items()}}
        if link is not None
        else {}
    )
