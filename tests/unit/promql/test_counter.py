"""Counters that are read as gauges."""

from __future__ import annotations

import pytest

from sidecar.promql.counter import raw_counter


@pytest.mark.parametrize(
    ("expr", "name"),
    [
        ("http_requests_total", "http_requests_total"),
        ('sum by (job) (http_requests_total{code="500"})', "http_requests_total"),
        ("rate(http_requests_total[5m])", None),
        ("sum(increase(http_requests_total[1h])) / 60", None),
        ("http_requests_total / 2", "http_requests_total"),
        ("latency_seconds_sum / latency_seconds_count", "latency_seconds_sum"),
        ("queue_length and on (job) restarts_total > 0", None),
        ("max_over_time(rate(x_total[1m])[1h:1m])", None),
        ("node_load1", None),
        ("sum(", None),
    ],
)
def test_a_counter_without_a_rate_is_named(expr: str, name: str | None) -> None:
    assert raw_counter(expr) == name
