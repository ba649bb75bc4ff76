"""How urgent an incident is, P0 to P4, and of which category, with the reasons.

The default policy, from the impact on what users see:
P0 two gateways fail hard, or one and half of the tier-1 services;
P1 a gateway or a tier-1 service fails hard, or so much beneath it that it must;
P2 one of those is slow or saturated, or a tier-2 service fails hard, or monitoring is out;
P3 everything else that is real; P4 noise. "Hard" is failing requests or down.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Set

import msgspec

from webhooks.correlate.entity import EntityReader
from webhooks.correlate.sighting import Key, Sighting

_GATEWAY = re.compile(
    r"(^|[-_./])(gateway|ingress|frontend|front-end|bff|edge|proxy|portal|www|lb|elb|alb|loadbalancer)([-_./:]|$)"
)
CATEGORIES: tuple[tuple[str, re.Pattern[str]], ...] = (
    (
        "security",
        re.compile(r"certificate|tls|x509|unauthori[sz]ed|forbidden|intrusion|login|brute|cve|secret"),
    ),
    ("data", re.compile(r"replication|corrupt|backup|lag\b|inconsisten|data loss|stale")),
    (
        "saturation",
        re.compile(
            r"cpu|memory|disk|volume|filesystem|throttl|connections|pool|limit|max replicas|quota|load"
        ),
    ),
    ("latency", re.compile(r"latency|slow|p9\d|duration|response time")),
    ("errors", re.compile(r"5xx|error|fail|exception|budget")),
    ("availability", re.compile(r"down|unreachable|unavailable|crash|not ?ready|probe|target|absent")),
)


class Urgency(msgspec.Struct, frozen=True):
    """Priority and category of an incident, and why."""

    priority: str
    category: str
    reasons: tuple[str, ...]


MUCH_BENEATH, CALLS_BENEATH = 5, 3
"""With so many services failing within so many calls beneath it, users feel it, alert or none."""


class Standing:
    """Where each entity stands: at the front, behind it, or in the back."""

    def __init__(self, reader: EntityReader, criticality: Mapping[str, int] | None = None) -> None:
        self._reader = reader
        self._criticality = criticality or {}
        self._topology = reader.topology

    def is_gateway(self, entity: str) -> bool:
        """Whether users meet the system here; by the graph, else by ingresses, probes and the name."""
        if self._topology.described:
            return self._topology.kind(entity) == "gateway"
        return entity in self._reader.fronts or bool(_GATEWAY.search(entity))

    def tier(self, entity: str, seen: Sighting | None = None) -> int:
        """1 is what users see first; by what people say of it, the graph, a label, else guessed."""
        known = self._criticality.get(entity) or self._topology.tier(entity)
        if known is not None:
            return known
        if seen is not None:
            stated = seen.episode.labels.get("tier") or seen.episode.labels.get("criticality") or ""
            if stated[-1:].isdigit():
                return int(stated[-1:])
        if self._topology.described:
            return 3 if self._topology.kind(entity) in ("", "node") else 2
        return 1 if self.is_gateway(entity) or entity in self._reader.promised else 2

    def above(self, failing: Set[str]) -> set[str]:
        """What users see first and has so much failing beneath it that they must feel it."""
        graph = self._topology
        if len(failing) < MUCH_BENEATH:
            return set()
        beneath: Counter[str] = Counter()
        for name in failing - graph.hubs:
            hops = graph.callers.get(name, {})
            beneath.update(caller for caller, n_calls in hops.items() if n_calls <= CALLS_BENEATH)
        return {
            name
            for name, n_failing in beneath.items()
            if n_failing >= MUCH_BENEATH and (self.is_gateway(name) or self.tier(name) == 1)
        }

    def n_top(self) -> int:
        """How many tier-1 services there are, as far as anybody knows."""
        critical = {name for name, tier in self._criticality.items() if tier == 1}
        if self._topology.described:
            critical |= {name for name, place in self._topology.places.items() if place.tier == 1}
            return len(critical - {name for name, tier in self._criticality.items() if tier > 1})
        return len(self._reader.fronts | self._reader.promised | critical)


def judge(
    sightings: list[Sighting],
    standing: Standing,
    *,
    cause: str = "",
    passed: Set[Key] = frozenset(),
) -> Urgency:
    """The priority of an incident from those of its alerts that are not noise.

    `passed`: episodes that are over and may well have been noise; that they tell of failing does not count.
    """
    if not sightings:
        return Urgency("P4", "noise", ("all its alerts are probably noise",))
    first: dict[str, Sighting] = {}
    for seen in sightings:
        first.setdefault(seen.entity, seen)
    hard = {s.entity for s in sightings if s.wording.hard and s.key not in passed}
    gateways = {name for name in first if standing.is_gateway(name)}
    brief = {s.entity for s in sightings if s.wording.hard and s.key in passed}
    top = gateways | {name for name in first if standing.tier(name, first[name]) == 1}
    hard_gateways, hard_top = gateways & hard, top & hard
    category = _category(sightings, cause)
    if len(hard_gateways) >= 2:
        return Urgency("P0", category, (f"gateways fail: {named(hard_gateways)}",))
    if hard_gateways and len(hard_top) >= max(2, standing.n_top() / 2):
        return Urgency("P0", category, (f"{named(hard_gateways)} fails with half of the tier-1 services",))
    if hard_top:
        return Urgency("P1", category, (f"requests fail at what users see first: {named(hard_top)}",))
    if felt := standing.above(hard):
        words = f"{MUCH_BENEATH} and more that {named(felt)} depends on fail; users must feel it"
        return Urgency("P1", category, (words,))
    if top:
        return Urgency("P2", category, (_soft(top, brief),))
    if any(s.wording.monitoring and not s.wording.scraped for s in sightings):
        return Urgency("P2", category, ("monitoring itself is affected",))
    hard_second = {name for name in hard if standing.tier(name, first[name]) == 2}
    if hard_second:
        return Urgency("P2", category, (f"requests fail behind the front: {named(hard_second)}",))
    return Urgency("P3", category, ("real, but no user-facing service is affected so far",))


def _soft(top: set[str], brief: set[str]) -> str:
    """Why what users see first is no page."""
    if top <= brief:
        return f"requests failed for a while where users see it, probably of no account: {named(top)}"
    return f"slow or saturated where users see it: {named(top)}"


def _category(sightings: list[Sighting], cause: str) -> str:
    own = [s for s in sightings if s.entity == cause] or sightings
    text = " ".join(f"{s.name} {' '.join(s.episode.annotations.values())}" for s in own[:5]).lower()
    for name, pattern in CATEGORIES:
        if pattern.search(text):
            return name
    return "availability"


def named(names: Set[str]) -> str:
    """Names for people, the first three of many."""
    shown = sorted(names)[:3]
    return ", ".join(shown) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
