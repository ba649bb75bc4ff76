"""Quantiles of histograms: no number beyond the last finite bucket, where an alert never fires."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from rules.adapt.buckets import last_bucket
from rules.adapt.search import Objective
from rules.adapt.solve import Proposal, solve
from rules.audit.finding import Kind
from rules.audit.history import beyond_buckets
from rules.backtest.past import BackTester, RulePast, Window
from rules.read import WrittenRule
from sidecar.errors import PullError, PullReason
from sidecar.series import LabelSet, SeriesBatch
from tests.unit.rules.histories import evidence

DAY = 86_400_000
WINDOW = Window(0, 14 * DAY, 60_000)
P99 = "histogram_quantile(0.99, sum by (le) (rate(took_seconds_bucket[5m])))"


class Buckets:
    """A source with histograms of these bounds."""

    def __init__(self, *bounds: str) -> None:
        self.bounds, self.asked, self.n_looks = bounds, "", 0

    async def instant(self, expr: str, *, at_ms: int, name: str, max_series: int) -> SeriesBatch:
        raise AssertionError("not asked here")

    async def range(
        self, expr: str, *, start_ms: int, end_ms: int, step_ms: int, name: str, max_series: int
    ) -> SeriesBatch:
        if not self.bounds:
            raise PullError(PullReason.BAD_QUERY, "no")
        times = np.arange(start_ms, end_ms + 1, step_ms, dtype=np.int64)
        self.asked, self.n_looks = expr, times.size
        labels = tuple(LabelSet({"le": bound} if bound else {}) for bound in self.bounds)
        return SeriesBatch(name, labels, times, np.ones((len(labels), times.size)))


@pytest.mark.parametrize(
    ("bounds", "last"),
    [
        pytest.param(("0.1", "2.5", "10", "+Inf"), 10.0, id="a finite one"),
        pytest.param(("",), math.inf, id="a native histogram"),
        pytest.param((), math.inf, id="nobody can say"),
    ],
)
async def test_the_last_bucket_is_asked_for(bounds: tuple[str, ...], last: float) -> None:
    source = Buckets(*bounds)
    assert await last_bucket(f"1000 * {P99} > 500", BackTester(source), WINDOW) == last
    if bounds:
        assert "count by (le) (sum by (le)" in source.asked
        assert source.n_looks < 100, "a few a day"


async def test_of_what_is_no_histogram_nobody_is_asked() -> None:
    source = Buckets("1")
    assert await last_bucket("load > 5", BackTester(source), WINDOW) == math.inf
    assert source.asked == ""


def test_no_number_beyond_the_last_bucket_is_proposed() -> None:
    """Peaks end at the last bucket, whatever they truly were."""
    calm = np.random.default_rng(3).gamma(4, 0.2, 28 * 1440)
    for first in range(300, 28 * 1440, 1000):
        calm[first : first + 200] = 12.0
    known = evidence(np.minimum(calm, 10.0), expr=f"{P99} > 1.5")
    objective = Objective(0.5, forms=frozenset({"static"}))
    blind = solve(known, objective)
    assert isinstance(blind, Proposal)
    assert float(blind.candidate.bound.at(known.times[:1])[0]) >= 10.0
    found = solve(replace(known, last_bucket=10.0), objective)
    if isinstance(found, Proposal):
        assert found.candidate.bound.at(known.times).max() < 10.0


@pytest.mark.parametrize(
    ("expr", "out_of_reach"),
    [
        (f"{P99} > 10", True),
        (f"{P99} >= 10", False),
        (f"1000 * {P99} > 20000", True),
        (f"{P99} > 9", False),
        (f"{P99} < 20", False),
        ("load > 20", False),
    ],
)
def test_an_alert_beyond_the_last_bucket_never_fires(expr: str, out_of_reach: bool) -> None:
    past = RulePast(WrittenRule("Slow", expr, "alerting"), WINDOW)
    found = beyond_buckets(past, 10.0)
    assert (found is not None and found.kind is Kind.UNREACHABLE) is out_of_reach
    assert beyond_buckets(past, math.inf) is None
