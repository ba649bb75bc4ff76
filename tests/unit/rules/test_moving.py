"""Tables by hour and lines read back from rules: as they were written, or as a server prints them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from rules.adapt.bounds import Bound, ByHour, Trend
from rules.adapt.judge import Evidence, judge
from rules.adapt.moving import without_moving
from rules.adapt.search import as_it_is
from rules.learn import Segment, Threshold
from rules.read import WrittenRule
from rules.verify import canonical
from sidecar.promql.threshold import Comparison, parse_comparison
from sidecar.series import LabelSet

LOAD = WrittenRule("Load", "sum by (pod) (load) > 5 and on () up  # of all", "alerting", "g")


def table(period: int, *edges_and_values: tuple[int, int, float]) -> ByHour:
    return ByHour(Threshold(LabelSet(), period, tuple(Segment(*one) for one in edges_and_values)))


DAY_SECONDS = 86_400


@pytest.mark.parametrize(
    ("bound", "number"),
    [
        pytest.param(table(24, (0, 8, 5.0), (8, 20, 9.5), (20, 24, 5.0)), 7.25, id="day"),
        pytest.param(table(168, (0, 30, -1.5), (30, 100, 1e9), (100, 168, 2.5e-7)), 2.5e-7, id="week"),
        pytest.param(Trend(10.0, 2 / DAY_SECONDS, 1.7e9, 1.7e9 + 88 * DAY_SECONDS), 66.0, id="climb"),
        pytest.param(Trend(-0.5, -1e-9, 1.7e9, 1.7e9 + 60 * DAY_SECONDS), -0.5, id="fall"),
    ],
)
def test_it_is_read_as_it_was_written(bound: Bound, number: float) -> None:
    written = replace(LOAD, expr=bound.rewritten(LOAD.expr))
    printed = replace(LOAD, expr=canonical(written.expr))
    for rule in (written, printed):
        read = without_moving(rule)
        assert read is not None
        assert read[1] == bound
        comparison = parse_comparison(read[0].expr)
        assert isinstance(comparison, Comparison)
        assert "".join(comparison.measured.split()) == "sumby(pod)(load)"
        assert comparison.conditions == ("and on () up",)
        assert comparison.threshold == pytest.approx(number)


@pytest.mark.parametrize(
    "table",
    [
        pytest.param("5", id="number"),
        pytest.param("(limit)", id="series"),
        pytest.param("on () group_left () (max(pronoia_rule_threshold) or vector(5))", id="join"),
        pytest.param(
            "on () group_left () (vector(1) and on () (hour() < 8) or vector(2) and on () (hour() >= 9))",
            id="gap",
        ),
        pytest.param(
            "on () group_left () (vector(1) and on () (hour() < 9) or vector(2) and on () (hour() >= 8))",
            id="twice",
        ),
        pytest.param(
            "on () group_left () (vector(x) and on () (hour() < 8) or vector(2) and on () (hour() >= 8))",
            id="no number",
        ),
        pytest.param("5 and load > (1 + 2 * (scalar(clamp_max(vector(time()), 9)) - 3))", id="condition"),
    ],
)
def test_what_is_no_whole_table_is_left_alone(table: str) -> None:
    assert without_moving(replace(LOAD, expr=f"load > {table}")) is None


def test_the_rule_as_it_is_fires_by_its_table() -> None:
    bound = table(24, (0, 12, 5.0), (12, 24, 9.0))
    read = without_moving(replace(LOAD, expr=bound.rewritten("load > 7")))
    assert read is not None
    comparison = parse_comparison(read[0].expr)
    assert isinstance(comparison, Comparison)
    hours = np.arange(48, dtype=np.int64) * 3_600_000
    ours = Evidence(read[0], comparison, (LabelSet(),), hours, np.full((1, 48), 8.0), moving=read[1])
    assert judge(as_it_is(ours), ours).n_firings == 2
    assert judge(as_it_is(ours.between(0, 86_400_000)), ours.between(0, 86_400_000)).n_firings == 1
