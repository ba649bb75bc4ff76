"""Who moved first, by the series of a real Prometheus behind real alerts."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from prometheus_client import CollectorRegistry

from sidecar.config.model import SourceConfig
from sidecar.prometheus.client import PrometheusClient
from sidecar.prometheus.session import PullMetrics
from tests.integration.servers import Prometheus
from tests.unit.webhooks.test_correlate import Stream, episode
from webhooks.judge.analyst import Analyst
from webhooks.judge.lag_feed import LagFeed, LagMetrics

pytestmark = pytest.mark.integration

NOW = int(time.time()) // 7200 * 7200 - 3600
"""In the past, so that nothing waits; what is asked for is history."""

BEGAN = {"cart-db": -600, "cart": -540, "web": -480}
SCRAPE_SECONDS = 15


def history() -> str:
    """An hour and a half of error ratios that climb one after another, as OpenMetrics text."""
    chance = random.Random(2)
    lines = ["# TYPE errors_ratio gauge"]
    for service, began in BEGAN.items():
        for at in range(-5400, 1, SCRAPE_SECONDS):
            climbed = min(max((at - began) / 60.0 + 0.25, 0.0), 1.0)
            value = 0.01 + 0.002 * chance.random() + 0.2 * climbed
            lines.append(f'errors_ratio{{service="{service}"}} {value:.5f} {NOW + at}')
    return "\n".join([*lines, "# EOF\n"])


async def test_the_cause_is_what_moved_first_though_its_alert_came_last(
    tmp_path: Path, keep: Callable[..., Any]
) -> None:
    prometheus: Prometheus = keep(Prometheus(tmp_path / "prometheus"))
    prometheus.backfill(history())
    prometheus.start()
    alerts = []
    for at, service in enumerate(("web", "cart", "cart-db")):
        one = episode("HighErrorRate", at=0.0, service=service)
        one.generator_url = f"http://prometheus/graph?g0.expr={quote('errors_ratio > 0.1')}"
        one.starts_at_ns = one.first_seen_ns = one.last_seen_ns = (NOW - 400 + 20 * at) * 10**9
        alerts.append(one)
    analyst, stream, told = Analyst(), Stream(), []
    stream.reader, stream.correlator = analyst.reader, analyst.correlator
    stream.hear(*alerts)
    stream.correlator.advance(float(NOW))
    (group,) = analyst.correlator.groups.values()
    before = analyst.consider(group, now=float(NOW), usual={})
    assert before.causes[0].service == "web", "nothing else than order tells them apart"
    metrics = PullMetrics(CollectorRegistry())
    async with PrometheusClient(SourceConfig(url=prometheus.url), metrics=metrics) as client:
        feed = LagFeed(
            lambda: analyst,
            source=client,
            reconsider=told.append,
            metrics=LagMetrics(CollectorRegistry()),
            now=lambda: float(NOW),
        )
        await feed.look()
    after = analyst.consider(group, now=float(NOW), usual={})
    assert [cause.service for cause in after.causes] == ["cart-db", "cart", "web"]
    assert any("before that of cart (Granger test)" in reason for reason in after.causes[0].reasons)
    assert told == [group.incident_id]
