"""Prometheus is asked who moved first, once for each shape of an incident, and the cause heeds it."""

from __future__ import annotations

from urllib.parse import quote

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from sidecar.errors import PullError, PullReason
from sidecar.records import Episode
from sidecar.series import FloatArray, LabelSet, SeriesBatch
from tests.unit.webhooks.test_evidence import T0, episode, heard
from tests.unit.webhooks.test_lagged import incident
from webhooks.judge.analyst import Analyst
from webhooks.judge.lag_feed import LagFeed, LagMetrics

NOW = T0 + 300.0


class Series:
    """A Prometheus that knows a series for each service."""

    def __init__(self, *delays: int, fails: bool | None = None) -> None:
        """`fails`: whether trying later may help."""
        self.asked: list[str] = []
        self._values: dict[str, FloatArray] = dict(
            zip(("cart", "web", "mail"), incident(*delays), strict=False)
        )
        self._fails = fails

    async def range(
        self, expr: str, *, start_ms: int, end_ms: int, step_ms: int, name: str, max_series: int
    ) -> SeriesBatch:
        self.asked.append(expr)
        if self._fails is not None:
            raise PullError(PullReason.TIMEOUT, "late", retryable=self._fails)
        service = expr.partition("_")[0]
        times = np.arange(start_ms, end_ms, step_ms, dtype=np.int64)
        values = self._values[service][None, -len(times) :]
        return SeriesBatch(name, (LabelSet({"service": service}),), times, values)


def alert(service: str, at: float) -> Episode:
    one = episode("High", at, service=service)
    one.generator_url = f"http://prometheus/graph?g0.expr={quote(f'{service}_errors > 5')}"
    return one


def feed(
    analyst: Analyst, source: Series, *, now: float = NOW
) -> tuple[LagFeed, list[str], CollectorRegistry]:
    told: list[str] = []
    registry = CollectorRegistry()
    lags = LagFeed(
        lambda: analyst, source=source, reconsider=told.append, metrics=LagMetrics(registry), now=lambda: now
    )
    return lags, told, registry


def causes(analyst: Analyst) -> dict[str, list[str]]:
    (group,) = analyst.correlator.groups.values()
    return {one.service: one.reasons for one in analyst.consider(group, now=NOW, usual={}).causes}


async def test_the_cause_is_what_moved_first_though_it_alerted_last() -> None:
    analyst, source = Analyst(), Series(0, 3)
    heard(analyst, alert("web", 0.0), alert("cart", 20.0))
    assert next(iter(causes(analyst))) == "web"
    lags, told, registry = feed(analyst, source)
    await lags.look()
    assert sorted(source.asked) == ["cart_errors", "web_errors"]
    after = causes(analyst)
    assert next(iter(after)) == "cart"
    assert "its metric moves 45 s and more before that of web (Granger test)" in after["cart"]
    assert "its metric moves after that of cart (Granger test)" in after["web"]
    assert told == list(analyst.correlator.groups)
    assert registry.get_sample_value("pronoia_incident_lag_tests_total", {"result": "found"}) == 1.0
    await lags.look()
    assert len(source.asked) == 2, "asked once"


async def test_it_is_asked_again_when_another_entity_joins() -> None:
    analyst, source = Analyst(), Series(0, 3, 5)
    heard(analyst, alert("web", 0.0), alert("cart", 20.0))
    lags, _, _ = feed(analyst, source)
    await lags.look()
    (group,) = analyst.correlator.groups.values()
    group.add(analyst.sight(alert("mail", 30.0)))
    await lags.look()
    assert len(source.asked) == 5


@pytest.mark.parametrize(
    ("alerts", "now"),
    [
        pytest.param((alert("web", 0.0),), NOW, id="one entity"),
        pytest.param((alert("web", 0.0), alert("cart", 20.0)), T0 + 60.0, id="too young"),
        pytest.param((alert("web", 0.0), alert("cart", 20.0)), T0 + 7200.0, id="too old"),
    ],
)
async def test_what_is_not_asked(alerts: tuple[Episode, ...], now: float) -> None:
    analyst, source = Analyst(), Series(0, 3)
    heard(analyst, *alerts)
    await feed(analyst, source, now=now)[0].look()
    assert source.asked == []


async def test_alerts_without_an_expression_and_metrics_that_say_nothing_change_nothing() -> None:
    analyst = Analyst()
    heard(analyst, episode("High", 0.0, service="web"), episode("High", 20.0, service="cart"))
    lags, told, registry = feed(analyst, Series(0, 3))
    await lags.look()
    assert registry.get_sample_value("pronoia_incident_lag_tests_total", {"result": "no_series"}) == 1.0
    other = Analyst()
    heard(other, alert("web", 0.0), alert("cart", 20.0))
    lags, told, registry = feed(other, Series(0, 0))
    await lags.look()
    assert told == []
    assert registry.get_sample_value("pronoia_incident_lag_tests_total", {"result": "none"}) == 1.0


async def test_a_prometheus_that_does_not_answer_is_asked_again_and_a_wrong_query_never() -> None:
    analyst, late, wrong = Analyst(), Series(0, 3, fails=True), Series(0, 3, fails=False)
    heard(analyst, alert("web", 0.0), alert("cart", 20.0))
    lags, _, _ = feed(analyst, late)
    for _ in range(2):
        with pytest.raises(PullError):
            await lags.look()
    assert len(late.asked) == 2
    lags, _, registry = feed(analyst, wrong)
    for _ in range(2):
        await lags.look()
    assert len(wrong.asked) == 2, "both alerts, once"
    assert registry.get_sample_value("pronoia_incident_lag_tests_total", {"result": "no_series"}) == 1.0
