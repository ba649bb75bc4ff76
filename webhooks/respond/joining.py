"""What people did about two incidents that became one: it is as taken on as its parts allow. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from msgspec.structs import replace

from sidecar.records import Incident, Response
from webhooks.notify.policy import URGENT
from webhooks.respond.lifecycle import expire

OPEN, ACKNOWLEDGED, MITIGATED = range(3)
MAX_PARTS = 200
"""So many incidents that went into one are remembered with it, the last."""


@dataclass(frozen=True, slots=True)
class Part:
    """One of the two as it was before. `asks`: it was open, and people had been told of it."""

    incident: Incident
    response: Response
    asks: bool

    @property
    def level(self) -> int:
        """How far people had taken it."""
        if self.response.mitigated_at_ns is not None:
            return MITIGATED
        return OPEN if self.response.acknowledged_at_ns is None else ACKNOWLEDGED

    @property
    def is_known(self) -> bool:
        """Whether people know of it."""
        return self.asks or self.level > OPEN


def joined(into: Part, gone: Part, *, now_ns: int) -> Response:
    """The response of the incident that stays.

    What nobody was told of yet counts for as little as an alert that joins late, and so does what is
    less urgent than the other part and no page: it does not take the acknowledgement away. Where all
    parts that count were taken on, the whole is, as far as the least of them.
    """
    counts, gone_counts = _counts(into, gone), _counts(gone, into)
    takes = gone.level > OPEN and not counts
    taker, other = (gone, into) if takes else (into, gone)
    response = replace(
        _lowered(into, gone, now_ns) if counts and gone_counts else into.response,
        changed_at_ns=now_ns,
        assignee=taker.response.assignee or other.response.assignee,
        cause=into.response.cause or gone.response.cause,
        fix=into.response.fix or gone.response.fix,
        parts=[*into.response.parts, gone.incident.incident_id, *gone.response.parts][-MAX_PARTS:],
    )
    if not takes:
        return response
    return replace(
        response,
        acknowledged_at_ns=gone.response.acknowledged_at_ns,
        acknowledged_by=gone.response.acknowledged_by,
        mitigated_at_ns=gone.response.mitigated_at_ns,
        first_acknowledged_at_ns=into.response.first_acknowledged_at_ns
        or gone.response.first_acknowledged_at_ns,
        open_again="",
    )


def stays(one: Part, other: Part) -> str | None:
    """Which of the two should stay, by its id, where they become one; None where it is all the same.

    That of which people know; of two the one that asks for somebody: its page goes on ringing.
    """
    for ours, theirs in (
        (one.is_known, other.is_known),
        (_counts(one, other), _counts(other, one)),
        (one.level < other.level, other.level < one.level),
    ):
        if ours != theirs:
            return (one if ours else other).incident.incident_id
    return None


def parted(fresh: Response, origin: Response | None) -> Response:
    """The response of an incident that came out of another one: who has the whole, has its parts."""
    if origin is None or origin.acknowledged_at_ns is None:
        return fresh
    return replace(
        fresh,
        assignee=origin.assignee,
        acknowledged_at_ns=origin.acknowledged_at_ns,
        acknowledged_by=origin.acknowledged_by,
        mitigated_at_ns=origin.mitigated_at_ns,
        first_acknowledged_at_ns=origin.first_acknowledged_at_ns,
    )


def _counts(part: Part, other: Part) -> bool:
    if part.level > OPEN:
        return True
    priority = part.incident.priority
    return part.asks and (priority in URGENT or priority <= other.incident.priority)


def _lowered(into: Part, gone: Part, now_ns: int) -> Response:
    """As far taken as the other part, which may be less."""
    if into.level > OPEN and gone.level == OPEN:
        why = f"incident {gone.incident.incident_id} went into it, which nobody had taken on"
        return expire(into.response, now_ns, why=why)
    if into.level > gone.level:
        return replace(into.response, mitigated_at_ns=None)
    return into.response
