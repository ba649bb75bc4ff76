"""Which ways of alerts are alive: the always-firing alert as a heartbeat, by cluster and Alertmanager.

Pure. A way that is silent for much longer than it ever was is lost. Peers of one
cluster share the work of delivering, so one of them is missed only where it used
to deliver beside the others.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sidecar.records import AlertEvent, Delivery
from webhooks.correlate.labels import CLUSTER_LABELS

ENOUGH_GAPS = 3
"""So many pauses are seen before one is known to be too long."""

TOLERANCE, GRACE_SECONDS = 2.0, 30.0
"""Silence above twice the longest usual pause, and a bit, is no pause."""

BESIDE = 3
"""So often two senders have delivered within each other's pauses: then each is expected by itself."""

MAX_WAYS = 1000


@dataclass(frozen=True, slots=True)
class Way:
    """By which cluster's alerts come through which Alertmanager (its external URL)."""

    tenant: str
    cluster: str
    alertmanager: str


@dataclass
class Pulse:
    """What is known of one way's heartbeat. Times are seconds since the epoch."""

    alertname: str
    last: float
    gaps: deque[float] = field(default_factory=lambda: deque(maxlen=8))
    beside: int = 0
    ended: bool = False
    """The heartbeat itself was told to be resolved: whoever fires it has stopped."""
    delay_seconds: float | None = None

    def patience(self, stated: float | None) -> float | None:
        """Silence that is too long; None while that is not known."""
        if stated is not None:
            return stated
        return TOLERANCE * max(self.gaps) + GRACE_SECONDS if len(self.gaps) >= ENOUGH_GAPS else None


@dataclass(frozen=True, slots=True)
class Lost:
    """A way that is silent; `whole_cluster` where no other way of its cluster is alive."""

    way: Way
    pulse: Pulse
    whole_cluster: bool


class Heartbeats:
    """Learns the pauses of every way, and says which are lost."""

    def __init__(
        self,
        alertnames: Iterable[str],
        *,
        timeout_seconds: float | None = None,
        time_annotation: str = "evaluated_at",
        pulses: Mapping[Way, Pulse] | None = None,
    ) -> None:
        self._names = frozenset(alertnames)
        self._timeout = timeout_seconds
        self._time_annotation = time_annotation
        self.pulses: dict[Way, Pulse] = dict(pulses or {})

    def hear(self, deliveries: Iterable[Delivery]) -> None:
        """Take the heartbeats of deliveries that were received."""
        for delivery in deliveries:
            for event in delivery.alerts:
                if event.labels.get("alertname") in self._names:
                    self._hear_one(event, delivery)

    def set_back(self, seconds: float) -> None:
        """Take in that the clock was set back by so much: by today's, beats were that much earlier."""
        for pulse in self.pulses.values():
            pulse.last -= seconds

    def lost(self, now: float, *, listening_since: float) -> list[Lost]:
        """Ways that are silent for too long, one of each cluster where all of it is."""
        alive: set[tuple[str, str]] = set()
        silent: list[tuple[Way, Pulse]] = []
        for way, pulse in self.pulses.items():
            patience = pulse.patience(self._timeout)
            quiet = now - max(pulse.last, listening_since)
            if pulse.ended or (patience is not None and quiet > patience):
                silent.append((way, pulse))
            elif patience is not None:
                alive.add((way.tenant, way.cluster))
        found: list[Lost] = []
        told: set[tuple[str, str]] = set()
        # Of a cluster that is silent as a whole, the way that was heard last stands for all.
        for way, pulse in sorted(silent, key=lambda item: -item[1].last):
            cluster = way.tenant, way.cluster
            if cluster not in alive and cluster not in told:
                told.add(cluster)
                found.append(Lost(way, pulse, whole_cluster=True))
            elif cluster in alive and pulse.beside >= BESIDE:
                found.append(Lost(way, pulse, whole_cluster=False))
        return found

    def _hear_one(self, event: AlertEvent, delivery: Delivery) -> None:
        cluster = next((event.labels[name] for name in CLUSTER_LABELS if event.labels.get(name)), "")
        way = Way(delivery.tenant, cluster, delivery.external_url)
        at = delivery.received_at_ns / 1e9
        pulse = self.pulses.get(way)
        if pulse is None:
            if len(self.pulses) >= MAX_WAYS:
                del self.pulses[min(self.pulses, key=lambda known: self.pulses[known].last)]
            pulse = self.pulses[way] = Pulse(event.labels["alertname"], at)
            pulse.delay_seconds = at - event.starts_at_ns / 1e9
        elif at > pulse.last:
            gap, patience = at - pulse.last, pulse.patience(None)
            if not pulse.ended and (patience is None or gap <= patience):
                pulse.gaps.append(gap)
            pulse.last = at
        else:
            pulse.last = at  # It is when we heard it: the clock was set back since the last time.
        pulse.ended = not event.firing
        evaluated = _seconds(event.annotations.get(self._time_annotation, ""))
        if evaluated is not None:
            pulse.delay_seconds = at - evaluated
        for other, theirs in self.pulses.items():
            if other != way and (other.tenant, other.cluster) == (way.tenant, way.cluster):
                patience = theirs.patience(self._timeout)
                pulse.beside += patience is not None and not theirs.ended and at - theirs.last <= patience


def to_document(pulses: Mapping[Way, Pulse]) -> list[dict[str, Any]]:
    """Pulses as plain data, for the store."""
    return [
        {
            "way": [way.tenant, way.cluster, way.alertmanager],
            "alertname": pulse.alertname,
            "last": pulse.last,
            "gaps": list(pulse.gaps),
            "beside": pulse.beside,
            "ended": pulse.ended,
        }
        for way, pulse in pulses.items()
    ]


def from_document(rows: Iterable[Mapping[str, Any]]) -> dict[Way, Pulse]:
    """The pulses that `to_document` wrote."""
    return {
        Way(*row["way"]): Pulse(
            row["alertname"], row["last"], deque(row["gaps"], maxlen=8), row["beside"], row["ended"]
        )
        for row in rows
    }


def _seconds(text: str) -> float | None:
    """Unix seconds from a number or RFC 3339; None from anything else."""
    try:
        return float(text)
    except ValueError:
        pass
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return None
