"""Ends of incidents that a crash kept from their timelines: it came between the two commits."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Set

from sidecar.records import Response, TimelineEntry

MAX_READ = 1000
"""So many timelines are read, of the incidents that changed last."""

BEGINNINGS = frozenset({"opened", "reopened"})
TURNS = BEGINNINGS | {"resolved", "merged"}


async def not_noted_over(
    responses: Collection[Response],
    still_open: Set[str],
    timeline: Callable[[str], Awaitable[list[TimelineEntry]]],
) -> set[str]:
    """Incidents that are open no longer, and of whose beginning their timelines tell last.

    Most are known without those: their response has when they ended, or that of what they went into
    has them among its parts. Raises: StoreError.
    """
    known = {part for response in responses for part in response.parts} | still_open
    unclear = [one for one in responses if one.over_at_ns is None and one.incident_id not in known]
    unclear.sort(key=lambda one: one.changed_at_ns, reverse=True)
    found = set()
    for response in unclear[:MAX_READ]:
        entries = await timeline(response.incident_id)
        turns = [one.kind for one in entries if one.incident_id == response.incident_id and one.kind in TURNS]
        if turns and turns[-1] in BEGINNINGS:
            found.add(response.incident_id)
    return found
