"""What the metrics loop tells of itself."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram


class LoopMetrics:
    """The metrics loop's own metrics, on the registry that is passed in."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.evaluations = Counter(
            "pronoia_evaluations_total",
            "Evaluations of watched queries, by outcome.",
            ["query", "result"],
            registry=registry,
        )
        self.duration = Histogram(
            "pronoia_evaluation_duration_seconds",
            "Pull, score and export of one query, end to end.",
            registry=registry,
            buckets=(0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
        )
        self.series = Gauge(
            "pronoia_query_series", "Series in the last answer to a query.", ["query"], registry=registry
        )
        self.anomalous = Gauge(
            "pronoia_query_anomalous_series",
            "Series of a query whose newest score is above 1.",
            ["query"],
            registry=registry,
        )
        self.warming_up = Gauge(
            "pronoia_query_warming_up_series",
            "Series of a query that have a value but no score yet.",
            ["query"],
            registry=registry,
        )
        self.borrowing = Gauge(
            "pronoia_query_borrowing_series",
            "Series of a query that are judged, for their first day, by what their family or query knew.",
            ["query"],
            registry=registry,
        )
        self.forecast_coverage = Gauge(
            "pronoia_forecast_coverage_ratio",
            "Share of late forecasts whose 95 % interval held what came.",
            ["query", "horizon"],
            registry=registry,
        )
        self.step = Gauge(
            "pronoia_query_step_seconds", "How often a query is judged.", ["query"], registry=registry
        )
        self.last_success = Gauge(
            "pronoia_query_last_evaluation_timestamp_seconds",
            "Time of the newest step that was judged.",
            ["query"],
            registry=registry,
        )
        self.ignored_columns = Counter(
            "pronoia_ignored_steps_total",
            "Steps that were not learnt from: late, seen before, or in the source's future.",
            ["query", "reason"],
            registry=registry,
        )
        self.accepted_shifts = Counter(
            "pronoia_shifts_accepted_total",
            "Levels that stayed so long that they were accepted as the new normal.",
            ["query"],
            registry=registry,
        )
        self.anomalies = Counter(
            "pronoia_anomalies_total", "Anomalies that began, one a series.", ["query"], registry=registry
        )
        self.alarm_rate = Gauge(
            "pronoia_query_alarms_per_series_month",
            "Anomalies a series and 30 days, of the last 30 days or since the start; true ones count too.",
            ["query"],
            registry=registry,
        )
        self.alarm_budget = Gauge(
            "pronoia_query_alarm_budget_per_series_month",
            "False alarms a series and 30 days that the query accepts.",
            ["query"],
            registry=registry,
        )
        self.cardinality_jumps = Counter(
            "pronoia_cardinality_jumps_total",
            "Times that a query's number of series jumped.",
            ["query", "direction"],
            registry=registry,
        )
        self.reset_storms = Counter(
            "pronoia_counter_reset_storms_total",
            "Times that many of a query's counters were reset at once, unexpectedly.",
            ["query"],
            registry=registry,
        )
        self.snapshots = Counter(
            "pronoia_model_snapshots_total",
            "Saves of model state, by outcome.",
            ["result"],
            registry=registry,
        )
        self.snapshot_time = Gauge(
            "pronoia_model_last_snapshot_timestamp_seconds",
            "Time of the newest saved model state.",
            registry=registry,
        )
        self.clock_skew = Gauge(
            "pronoia_clock_skew_seconds",
            "How far the source's clock is ahead of ours; 0 within tolerance.",
            registry=registry,
        )

    def forget(self, query: str) -> None:
        """Drop the children of a query that is no longer watched."""
        for gauge in (
            self.series,
            self.anomalous,
            self.warming_up,
            self.borrowing,
            self.step,
            self.last_success,
        ):
            gauge.remove(query)
        self.forecast_coverage.remove_by_labels({"query": query})
        for metric in (self.accepted_shifts, self.anomalies, self.alarm_rate, self.alarm_budget):
            metric.remove(query)
        for metric in (self.cardinality_jumps, self.reset_storms):
            metric.remove_by_labels({"query": query})
        for counter, values in (
            (self.evaluations, ("ok", "error", "empty")),
            (self.ignored_columns, ("late", "duplicate", "future")),
        ):
            for value in values:
                counter.remove(query, value)
