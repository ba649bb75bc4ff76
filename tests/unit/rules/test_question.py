"""What is asked of a source about a rule's past: the cheapest question that has the answer."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from rules.adapt.bounds import Bound, ByHour, Trend
from rules.backtest.past import BackTester, Window
from rules.backtest.question import questions
from rules.learn import Segment, Threshold
from rules.read import WrittenRule
from sidecar.errors import TooManySeries
from sidecar.series import LabelSet, SeriesBatch

HOUR_MS = 3_600_000
DAY = Window(0, 24 * HOUR_MS, HOUR_MS)
LOAD = WrittenRule("Load", "load > 5 and on () up", "alerting", "g")
TABLE = ByHour(Threshold(LabelSet(), 24, (Segment(0, 8, 4.0), Segment(8, 20, 9.0), Segment(20, 24, 3.0))))


class Table:
    """A source whose load is 5 in every hour; it answers plain questions for so many series only."""

    def __init__(self, *, refuses_plain: bool = False) -> None:
        self.asked: list[str] = []
        self._refuses_plain = refuses_plain

    async def instant(self, expr: str, *, at_ms: int, name: str, max_series: int) -> SeriesBatch:
        raise AssertionError("not asked here")

    async def range(
        self, expr: str, *, start_ms: int, end_ms: int, step_ms: int, name: str, max_series: int
    ) -> SeriesBatch:
        self.asked.append(expr)
        times = np.arange(start_ms, end_ms + 1, step_ms, dtype=np.int64)
        if "hour()" in expr:
            values = np.where(TABLE.at(times) < 5, 1.0, np.nan)
        elif self._refuses_plain:
            raise TooManySeries(name, max_series + 1, max_series)
        else:
            values = np.full(times.shape, 5.0)
        return SeriesBatch(name, (LabelSet({"pod": "a"}),), times, values[None, :])


@pytest.mark.parametrize(
    ("expr", "bound", "asked"),
    [
        pytest.param("load > 5", TABLE, "clamp((load > 3\n), -1e300, 1e300)", id="above"),
        pytest.param("load < 5", TABLE, "clamp((load < 9\n), -1e300, 1e300)", id="below"),
        pytest.param(
            "load >= 5 unless on () calm",
            TABLE,
            "clamp((load >= 3 unless on () calm\n), -1e300, 1e300)",
            id="conditions stay",
        ),
        pytest.param("load > 5", Trend(1.0, 1e-7, 1.7e9, 1.8e9), None, id="line"),
        pytest.param("load > 5", None, None, id="number"),
    ],
)
def test_of_a_table_only_its_tightest_number_is_asked_for(
    expr: str, bound: Bound | None, asked: str | None
) -> None:
    written = expr if bound is None else bound.rewritten(expr)
    *cheaper, last = (question.expr for question in questions(replace(LOAD, expr=written)))
    assert cheaper == ([] if asked is None else [asked])
    assert last == f"({written}\n) >= bool -Inf"


def test_nothing_is_beyond_an_equal_number() -> None:
    expr = TABLE.rewritten("load > 5").replace("load >", "load ==")
    assert [question.expr for question in questions(replace(LOAD, expr=expr))] == [f"({expr}\n) >= bool -Inf"]


@pytest.mark.parametrize(
    ("refuses_plain", "n_asked"),
    [pytest.param(False, 1, id="answered"), pytest.param(True, 2, id="too many series")],
)
async def test_the_hours_own_number_decides(refuses_plain: bool, n_asked: int) -> None:
    source = Table(refuses_plain=refuses_plain)
    past = await BackTester(source).one(replace(LOAD, expr=TABLE.rewritten(LOAD.expr)), DAY)
    assert [(one.start_ms // HOUR_MS, one.end_ms // HOUR_MS) for one in past.firings] == [(0, 8), (20, 25)]
    assert len(source.asked) == n_asked
    assert ("hour()" in source.asked[-1]) == refuses_plain
