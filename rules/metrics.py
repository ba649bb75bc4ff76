"""What the rules loop tells of itself in metrics."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge

from sidecar.errors import RuleReason


class RuleMetrics:
    """What the rules loop tells of itself."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.published = Counter(
            "pronoia_rules_published_total",
            "Rule files published or not, by result.",
            ["result"],
            registry=registry,
        )
        for result in ("ok", "unchanged", *(reason.value for reason in RuleReason)):
            self.published.labels(result)
        self.rolled_back = Counter(
            "pronoia_rules_rolled_back_total", "Live rule files that were taken back.", registry=registry
        )
        self.canary_failed = Counter(
            "pronoia_rules_canary_failed_total",
            "Shadows that did not do as their back-test said, of generated rules and of rewrites.",
            registry=registry,
        )
        self.live = Gauge(
            "pronoia_rules_live_groups", "Generated rule groups that are live.", registry=registry
        )
        self.not_loaded = Gauge(
            "pronoia_rules_not_loaded_groups",
            "Live generated rule groups that Prometheus has not had loaded for five minutes.",
            registry=registry,
        )
        self.last_success = Gauge(
            "pronoia_rules_last_success_timestamp_seconds",
            "Time of the last run in which every query's rules were in order.",
            registry=registry,
        )
