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
        pytest.param(QUERY % "traffic: {min_events: 3}", "expr", id="traffic of nothing"),
        pytest.param(QUERY % "traffic: {expr: 'sum('}", "traffic.expr", id="traffic that does not parse"),
    ],
)
def test_what_cannot_be_is_refused_in_words(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(words)):
        load_text(text)
