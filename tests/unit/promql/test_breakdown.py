"""Aggregates are split by one more label, narrowed to one series, left alone where that is wrong."""

from __future__ import annotations

import pytest
from promql_parser import parse

from sidecar.promql.breakdown import Breakdown


@pytest.mark.parametrize(
    ("expr", "labels", "additive", "expected"),
    [
        pytest.param("sum(up)", {}, True, "sum by (pod) (up)", id="of all"),
        pytest.param(
            'sum by (job) (rate(x{a="b}"}[5m] offset 1h))', {"job": 'q"z'}, True,
            'sum by (job, pod) (rate(x{a="b}",job="q\\"z"}[5m] offset 1h))', id="narrowed to the series",
        ),
        pytest.param(
            "sum without (pod, zone) (x)", {"job": "a"}, True, 'sum without (zone) (x{job="a"})', id="without"
        ),
        pytest.param("100 * sum(x)", {}, False, "100 * sum by (pod) (x)", id="scaled"),
        pytest.param(
            "sum by (job) (x) / sum by (job) (y)", {"job": "a"}, False,
            'sum by (job, pod) (x{job="a"}) / sum by (job, pod) (y{job="a"})', id="a ratio",
        ),
        pytest.param(
            "histogram_quantile(0.9, sum by (le) (rate(b[5m])))", {}, False,
            "histogram_quantile(0.9, sum by (le, pod) (rate(b[5m])))", id="a quantile of a histogram",
        ),
        pytest.param(
            'count by (job) (label_replace(x, "job", "$1", "app", "(.*)"))', {"job": "a"}, True,
            'count by (job, pod) (label_replace(x, "job", "$1", "app", "(.*)"))',
            id="a renamed label narrows nothing",
        ),
    ],
)  # fmt: skip
def test_rewritten(expr: str, labels: dict[str, str], additive: bool, expected: str) -> None:
    found = Breakdown.of(expr, labels)
    assert found is not None
    assert (found.additive, found.by("pod")) == (additive, expected)
    parse(expected)
    for selector in found.selectors:
        parse(selector)


@pytest.mark.parametrize(
    "expr", ["up", "rate(x[5m])", "topk(3, x)", "quantile(0.9, x)", "sum by (a) (x) / on (a) sum by (a) (y)"]
)
def test_left_alone(expr: str) -> None:
    assert Breakdown.of(expr, {}) is None
