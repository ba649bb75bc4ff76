"""Tables by hour and lines in rules: read back as a Prometheus prints them, their pasts as it has them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from rules.adapt.bounds import Bound, ByHour, Trend
from rules.adapt.moving import without_moving
from rules.backtest.firing import firings
from rules.backtest.past import BackTester, Window
from rules.backtest.question import Presence, questions
from rules.learn import Segment, Threshold
from rules.read import WrittenRule
from rules.verify import canonical
from sidecar.cli.rules_temporary import temporary_prometheus
from sidecar.config.model import SourceConfig
from sidecar.prometheus.client import PrometheusClient
from sidecar.prometheus.session import PullMetrics
from sidecar.series import LabelSet
from tests.integration.servers import Prometheus, get_json, stopping

pytestmark = pytest.mark.integration

SEGMENTS = {
    24: (Segment(0, 8, 5.0), Segment(8, 20, 1e9), Segment(20, 24, 5.5)),
    168: (Segment(0, 31, -1.5), Segment(31, 100, 0.25), Segment(100, 168, 2.5e-7)),
}


def test_what_a_server_prints_is_read_as_it_was_written(tmp_path: Path) -> None:
    moving: dict[str, Bound] = {
        f"By{period}": ByHour(Threshold(LabelSet(), period, segments))
        for period, segments in SEGMENTS.items()
    }
    moving["Line"] = Trend(3.25, -2e-7, 1.7e9, 1.71e9)
    written = {
        name: one.rewritten("sum by (a) (load{b='c'}) > 5 and on () up") for name, one in moving.items()
    }
    server = Prometheus(tmp_path)
    rules = [{"alert": name, "expr": expr} for name, expr in written.items()]
    (server.rules / "own.yaml").write_text(json.dumps({"groups": [{"name": "own", "rules": rules}]}))
    with stopping(server):
        server.start()
        groups = get_json(f"{server.url}/api/v1/rules")["data"]["groups"]
    printed = {rule["name"]: rule["query"] for group in groups for rule in group["rules"]}
    assert printed.keys() == moving.keys()
    for name, expr in printed.items():
        read = without_moving(WrittenRule(name, expr, "alerting"))
        assert read is not None, expr
        assert read[1] == moving[name]
        assert canonical(expr) == canonical(written[name])


MINUTE = 60
BEGAN = 1_750_000_020
WEEK = Window(BEGAN * 1000, (BEGAN + 8 * 86_400) * 1000, 5 * MINUTE * 1000)


def restless() -> Iterator[str]:
    """Eight days of two pods that wander about 5, at times without end, and of what is up now and then."""
    random = np.random.default_rng(7)
    times = np.arange(BEGAN, BEGAN + 8 * 86_400, 4 * MINUTE)
    yield "# TYPE load gauge\n"
    for pod in "ab":
        values = 5 + 3 * random.standard_normal(times.size)
        values[random.random(times.size) < 0.02] = np.inf
        values[random.random(times.size) < 0.02] = -np.inf
        yield from (f'load{{pod="{pod}"}} {value} {at}\n' for at, value in zip(times, values, strict=True))
    yield "# TYPE up gauge\n"
    yield from (f"up {int(at // 86_400 % 3 > 0)} {at}\n" for at in times)
    yield "# EOF\n"


async def test_the_past_of_a_table_is_what_prometheus_makes_of_it() -> None:
    day = ByHour(Threshold(LabelSet(), 24, (Segment(0, 7, 4.5), Segment(7, 19, 9.5), Segment(19, 24, 6.0))))
    week = ByHour(
        Threshold(LabelSet(), 168, (Segment(0, 31, 1.5), Segment(31, 100, 8.0), Segment(100, 168, 5.0)))
    )
    rules = [
        WrittenRule(
            f"{operator} {n}",
            bound.rewritten(f"load {operator} 5 and on () up == 1"),
            "alerting",
            for_seconds=300,
        )
        for operator in (">", "<", ">=", "<=")
        for n, bound in enumerate((day, week))
    ]
    async with (
        temporary_prometheus(restless()) as url,
        PrometheusClient(SourceConfig(url=url), metrics=PullMetrics(CollectorRegistry())) as client,
    ):
        pasts = await BackTester(client).all(rules, WEEK)
        for rule, past in zip(rules, pasts, strict=True):
            _, whole = questions(rule)
            assert isinstance(whole, Presence)
            batch = await client.range(
                whole.expr,
                start_ms=WEEK.start_ms,
                end_ms=WEEK.end_ms,
                step_ms=WEEK.step_ms,
                name=rule.name,
                max_series=9,
            )
            theirs = firings(whole.active(batch), batch.timestamps, for_seconds=rule.for_seconds)
            named = {(batch.labels[one.row]["pod"], one.start_ms, one.end_ms) for one in theirs}
            assert {(past.labels[one.row]["pod"], one.start_ms, one.end_ms) for one in past.firings} == named
            assert len(named) > 20, f"{rule.name} shows little"
