"""What the alerts loop tells of itself, and of the incidents that it makes."""

from __future__ import annotations

import math

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from webhooks.correlate.placing import Placing
from webhooks.correlate.quality import quality

PRIORITIES = ("P0", "P1", "P2", "P3", "P4")


class LoopMetrics:
    """Counters, gauges and histograms of the alerts loop."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.open = Gauge("pronoia_incidents_open", "Incidents that are open now.", registry=registry)
        self.merges = Counter(
            "pronoia_incident_merges_total", "Incidents that went into another.", registry=registry
        )
        self.splits = Counter(
            "pronoia_incident_splits_total",
            "Incidents that came out of another, as their alerts ended apart.",
            registry=registry,
        )
        self.by_priority = Counter(
            "pronoia_incidents_total", "Incidents opened, by first priority.", ["priority"], registry=registry
        )
        for priority in PRIORITIES:
            self.by_priority.labels(priority)
        self.passes = Histogram(
            "pronoia_correlation_duration_seconds",
            "Passes of the alerts loop, from pending alerts to stored incidents.",
            registry=registry,
            buckets=(0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3),
        )
        self.delay = Histogram(
            "pronoia_correlation_delay_seconds",
            "From the reception of a new alert to its stored incident.",
            registry=registry,
            buckets=(0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100),
        )
        self.failures = Counter(
            "pronoia_alerts_loop_failures_total",
            "Times that incidents could not be stored and were kept for later.",
            registry=registry,
        )
        self._storms = Gauge(
            "pronoia_alert_storms", "Tenants with far more new alerts than usual.", registry=registry
        )
        self._evicted = Gauge(
            "pronoia_episodes_evicted",
            "Alerts that left memory before their end since the start, for the want of room.",
            registry=registry,
        )
        self._held = Gauge(
            "pronoia_episodes_held",
            "Alerts held in memory: those that fire, and those that were over within the last day.",
            registry=registry,
        )
        self._flapping = Gauge("pronoia_alerts_flapping", "Alerts that flap now.", registry=registry)
        self._spared = Gauge(
            "pronoia_incidents_spared",
            "Incidents since the start that resolved by themselves while held, told to nobody.",
            registry=registry,
        )
        self._per_incident = Gauge(
            "pronoia_incident_alerts_ratio", "Alerts for each open incident.", registry=registry
        )
        self._coincident = Gauge(
            "pronoia_incident_coincident_alerts_ratio",
            "Share of alerts of open incidents that only time and place bind to them.",
            registry=registry,
        )
        self._brier = Gauge(
            "pronoia_noise_brier_score",
            "Mean squared distance of told probabilities of noise from people's verdicts; NaN of none.",
            registry=registry,
        )
        self._brier.set(math.nan)
        self._suspects = Gauge(
            "pronoia_incidents_overmerge_suspects",
            "Open incidents of many entities that mostly time alone binds: perhaps several in one.",
            registry=registry,
        )

    def tell(self, placing: Placing, *, n_held: int, n_evicted: int, n_spared: int) -> None:
        """Show how things stand, and how good the open incidents are."""
        found = quality(placing.analyst.correlator.groups.values())
        self._per_incident.set(found.alerts_per_incident)
        self._coincident.set(found.coincident_ratio)
        self._suspects.set(found.n_suspects)
        self._brier.set(placing.analyst.correlator.bonds.verdicts.brier)
        self._storms.set(len(placing.storms.raging))
        self._flapping.set(len(placing.flaps.flapping))
        self._held.set(n_held)
        self._evicted.set(n_evicted)
        self._spared.set(n_spared)
