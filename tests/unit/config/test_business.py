"""The sections around a query: what they refuse, and that the documented example is one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sidecar.config.load import load_text
from sidecar.errors import ConfigError

ROOT = Path(__file__).parents[3]
QUERY = "queries: [{name: q, expr: up, %s}]"


def test_the_documented_example_loads() -> None:
    (example,) = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "surroundings.md").read_text(), re.DOTALL)
    config = load_text(example)
    assert config.business.peak_hours[0].timezone == "Europe/Berlin"
    assert [pause.learn for pause in config.pauses] == [True, False]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("pauses: [{learn: true}]", "either start and end, or hours", id="a pause without time"),
        pytest.param(
            "pauses: [{start: 2026-01-02T00:00:00Z, end: 2026-01-01T00:00:00Z}]", "before", id="backwards"
        ),
        pytest.param("pauses: [{start: 2026-01-02T00:00:00, end: 2026-01-03T00:00:00}]", "start", id="zone"),
        pytest.param("pauses: [{hours: {span: '9-17'}}]", "09:00-17:00", id="a span"),
        pytest.param("business: {band_factors: {peak_hours: 0}}", "0.1 to 10", id="a band of nothing"),
        pytest.param("business: {peak_hour: []}", "did you mean 'peak_hours'", id="a key that is nearly one"),
        pytest.param("business: {weights: {revenue: 7}}", "0 to 1", id="a weight"),
        pytest.param(QUERY % "importance: {revenue: 2}", "0 to 1", id="an importance"),
        pytest.param(QUERY % "band_factors: {release_days: 99}", "0.1 to 10", id="a query's factor"),
        pytest.param(
            "business: {deployments: {expr: 'max('}}", "business.deployments.expr", id="deployments"
        ),
        pytest.param(QUERY % "counters: 'up{'", "queries[0].counters", id="counters"),
        pytest.param(
            QUERY % "counters: 'rate(a_total[5m])'", "no selector of counters", id="rates of counters"
        ),
        pytest.param(QUERY % "traffic: {min_events: 3}", "expr", id="traffic of nothing"),
        pytest.param(QUERY % "traffic: {expr: 'sum('}", "traffic.expr", id="traffic that does not parse"),
    ],
)
def test_what_cannot_be_is_refused_in_words(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(words)):
        load_text(text)


@pytest.mark.parametrize(
    ("place", "text"),
    [
        pytest.param("pauses[1].queries", "pauses: [{hours: {}}, {hours: {}, queries: [%s]}]", id="a pause"),
        pytest.param(
            "events[0].queries",
            "events: [{name: e, start: 2026-01-01T00:00:00Z, duration: 1h, queries: [%s]}]",
            id="an event",
        ),
        pytest.param(
            "runbooks[0].queries", "runbooks: [{name: r, actions: [a], queries: [%s]}]", id="a runbook"
        ),
        pytest.param("calendar.queries", "calendar: {country: DE, queries: [%s]}", id="holidays"),
    ],
)
def test_what_is_said_of_a_query_that_is_not_watched_is_refused(place: str, text: str) -> None:
    watched = "queries: [{name: cdn_errors, expr: up}]\n"
    with pytest.raises(ConfigError, match=re.escape(place) + ".*'cdn_error'; did you mean 'cdn_errors'"):
        load_text(watched + text % "cdn_error")
    load_text(watched + text % "cdn_errors")
    load_text(text % "cdn_error")  # Its name may be one of those that will be proposed.


def test_an_event_may_be_about_series_by_any_label() -> None:
    text = "events: [{name: e, start: 2026-01-01T00:00:00Z, duration: 1h, match: {__name__: up}}]"
    assert load_text(text).events[0].match == {"__name__": "up"}
