"""How good the incidents are, as far as it shows without anybody's judgement."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from webhooks.correlate.group import Group, Link

COINCIDENCE = frozenset({"density", "name", "namespace", "all"})
"""What binds by time and place alone; the rest names a relation."""

MANY_ENTITIES = 8
MOST = 0.5


@dataclass(frozen=True, slots=True)
class Quality:
    """Proxies of purity over open incidents."""

    alerts_per_incident: float
    coincident_ratio: float
    """Share of alerts that only their time and place bind to their incident, 0..1."""
    n_suspects: int
    """Incidents of many entities, most of which nothing but time binds: perhaps several in one."""


def quality(groups: Iterable[Group]) -> Quality:
    """The quality of the open incidents among these."""
    n_groups = n_alerts = n_coincident = n_suspects = 0
    for group in groups:
        if not group.firing:
            continue
        n_groups += 1
        n_alerts += len(group.members)
        loose = sum(is_coincident(link) for link in group.links.values())
        n_coincident += loose
        n_suspects += len(group.parties) >= MANY_ENTITIES and loose > MOST * len(group.members)
    return Quality(
        n_alerts / n_groups if n_groups else 0.0, n_coincident / n_alerts if n_alerts else 0.0, n_suspects
    )


def is_coincident(link: Link) -> bool:
    """Whether nothing but time and place binds."""
    return bool(link.dimensions) and COINCIDENCE.issuperset(link.dimensions)
