"""What became of an incident in a replay of labelled series: kept, late, lost, or told of by chance alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rules.adapt.history import Adapted
from rules.adapt.solve import Unchanged
from rules.backtest.compare import compare
from rules.backtest.firing import Firing
from rules.backtest.past import RulePast
from rules.incidents import KnownIncident
from rules.read import WrittenRule
from sidecar.series import LabelSet
from sidecar.tables import SeriesTable
from tools.rules_replay import BY_CHANCE, LabelledSeries, Replayed

HOUR_MS = 3_600_000
BEGINS = 300
"""The incident's first hour: it is in the second half, and twenty hours long."""

HIGH = WrittenRule("s high", 'sample{series="s"} > 15', "alerting")
LABELS = (LabelSet({"series": "s"}),)


def past(series: LabelledSeries, *hours: int) -> RulePast:
    """Firings of an hour each."""
    fired = tuple(Firing(0, hour * HOUR_MS, (hour + 1) * HOUR_MS, hour * HOUR_MS) for hour in hours)
    return RulePast(HIGH, series.windows[1], LABELS, fired)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        pytest.param((2,), (3,), "kept", id="one evaluation later"),
        pytest.param((10,), (14,), "late", id="what stands out is told of later"),
        pytest.param((10,), (), "lost", id="what stands out is not told of"),
        pytest.param((2,), (), BY_CHANCE, id="an alarm within normal life, one of many"),
        pytest.param((2, 10), (11,), BY_CHANCE, id="so soon by chance, and then in time"),
        pytest.param((2, 10), (13,), "late", id="so soon by chance, and then late"),
        pytest.param((2, 10), (), "lost", id="so soon by chance, and then not"),
    ],
)
def test_what_became_of_an_incident(old: tuple[int, ...], new: tuple[int, ...], expected: str) -> None:
    """Life reaches 20 in the first half; the incident goes beyond it from its tenth hour on."""
    values = np.full(400, 10.0)
    values[::7] = 20.0
    values[BEGINS + 2] = 18.0
    values[BEGINS + 10 : BEGINS + 20] = 40.0
    times = np.arange(400) * HOUR_MS
    table = SeriesTable(Path("s.csv"), times, values, np.ones(400, dtype=np.bool_), 3600.0)
    incident = KnownIncident("s #1", BEGINS * HOUR_MS, (BEGINS + 20) * HOUR_MS, match={"series": "s"})
    series = LabelledSeries("set", "s", table, (incident,))
    false_alarms = range(200, 290, 4)
    before = past(series, *false_alarms, *(BEGINS + hour for hour in old))
    after = past(series, *(BEGINS + hour for hour in new))
    done = Replayed(series, (), compare([before], [after], [incident]))
    (row,) = done.comparison.incidents
    assert done.verdict(row) == expected


def test_an_alarm_within_normal_life_counts_where_the_rule_is_quiet_otherwise() -> None:
    times = np.arange(400) * HOUR_MS
    values = np.full(400, 10.0)
    table = SeriesTable(Path("s.csv"), times, values, np.ones(400, dtype=np.bool_), 3600.0)
    incident = KnownIncident("s #1", BEGINS * HOUR_MS, (BEGINS + 20) * HOUR_MS, match={"series": "s"})
    series = LabelledSeries("set", "s", table, (incident,))
    done = Replayed(series, (), compare([past(series, 210, BEGINS + 2)], [past(series)], [incident]))
    assert done.verdict(done.comparison.incidents[0]) == "lost"
    (row,) = done.comparison.incidents
    unchanged = Adapted(HIGH, Unchanged("it is in order"), HIGH)
    cells = replace(done, adapted=(unchanged,)).case(row)
    assert cells == ("s #1", "high", "10", "10", "10", "– it is in order")
