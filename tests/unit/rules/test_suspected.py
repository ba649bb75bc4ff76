"""Trouble that nobody told of: found where it lasts and is rare, and not learned as normal."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from rules.adapt.judge import Evidence
from rules.adapt.search import Objective
from rules.adapt.solve import Proposal, solve
from rules.adapt.suspected import suspected
from rules.incidents import KnownIncident
from rules.read import WrittenRule
from sidecar.promql.threshold import Comparison, parse_comparison
from sidecar.series import LabelSet

DAYS = 28
STEP_MS = 300_000
A_DAY = 288
START = 1_700_000_000_000 // STEP_MS * STEP_MS
TWO_OUTAGES = ((9.3, 1.0), (20.6, 6.0))


def calm(seed: int = 1, rows: int = 1) -> np.ndarray:
    """Around 3, seldom beyond 5.5."""
    return 3 + np.random.default_rng(seed).normal(0, 1, (rows, DAYS * A_DAY))


def with_outages(outages: tuple[tuple[float, float], ...], *, row: int = 0, rows: int = 1) -> np.ndarray:
    """Between 10 and 12, from those days on for so many hours."""
    values = calm(rows=rows)
    for day, hours in outages:
        first, n = int(day * A_DAY), int(hours * 12)
        values[row, first : first + n] = np.random.default_rng(7).uniform(10, 12, n)
    return values


def past(values: np.ndarray, expr: str = "load > 5.5", incidents: tuple[KnownIncident, ...] = ()) -> Evidence:
    comparison = parse_comparison(expr)
    assert isinstance(comparison, Comparison)
    labels = tuple(LabelSet({"pod": f"a.{n}"}) for n in range(len(values)))
    times = START + np.arange(values.shape[1]) * STEP_MS
    rule = WrittenRule("LoadHigh", expr, "alerting")
    return Evidence(rule, comparison, labels, times, values, incidents)


def learned(evidence: Evidence) -> Proposal:
    found = solve(replace(evidence, incidents=(*evidence.incidents, *suspected(evidence))), Objective(2))
    assert isinstance(found, Proposal), found
    return found


@pytest.mark.parametrize("threshold", [4, 5.5])
@pytest.mark.parametrize("outages", [TWO_OUTAGES[:1], TWO_OUTAGES], ids=["one outage", "two outages"])
def test_the_next_outage_like_those_that_nobody_told_of_is_still_told_of(
    threshold: float, outages: tuple[tuple[float, float], ...]
) -> None:
    found = learned(past(with_outages(outages), f"load > {threshold}"))
    assert found.before.n_false > 50
    assert found.after.false_per_month <= 2
    assert found.candidate.bound.at(np.array([START]))[0] < 9.5
    assert len(found.after.delays) == len(outages)


def test_an_outage_from_below_counts_as_well() -> None:
    found = learned(past(-with_outages(TWO_OUTAGES), "load < -5.5"))
    assert -9.5 < found.candidate.bound.at(np.array([START]))[0] < -5.5


def test_a_week_of_outages_is_one_trouble() -> None:
    outages = tuple((13.2 + day, 3.0) for day in range(7))
    assert len(suspected(past(with_outages(outages)))) == 7


@pytest.mark.parametrize(
    "outages",
    [
        pytest.param((), id="nothing"),
        pytest.param(tuple((day + 0.2, 1.0) for day in range(DAYS)), id="every day"),
        pytest.param(tuple((7 * week + 0.2, 3.0) for week in range(4)), id="every week at that hour"),
        pytest.param(tuple((3.7 * n + 0.2, 3.0) for n in range(7)), id="twice a week"),
        pytest.param(((9.3, 0.4),), id="short"),
        pytest.param(((9.3, 12 * 24.0),), id="a new level"),
    ],
)
def test_what_is_short_or_comes_back_is_life(outages: tuple[tuple[float, float], ...]) -> None:
    assert suspected(past(with_outages(outages))) == ()


def test_what_is_no_higher_than_peaks_of_life_is_life() -> None:
    values = with_outages(TWO_OUTAGES)
    values[0, ::200] = 13.0
    assert suspected(past(values)) == ()


def test_an_incident_that_is_known_is_not_suspected_too() -> None:
    start = START + int(9.3 * A_DAY) * STEP_MS
    known = KnownIncident("known", start, start + 30 * 60_000)
    found = suspected(past(with_outages(TWO_OUTAGES), incidents=(known,)))
    assert len(found) == 1
    assert found[0].start_ms > known.end_ms


def test_it_begins_where_the_series_left_normal_life_and_names_that_series() -> None:
    (found,) = suspected(past(with_outages(((9.3, 2.0),), row=1, rows=3)))
    first = START + int(9.3 * A_DAY) * STEP_MS
    assert first - STEP_MS < found.start_ms <= first
    assert found.end_ms == first + 23 * STEP_MS
    assert found.matches(LabelSet({"pod": "a.1"}))
    assert not found.matches(LabelSet({"pod": "a.2"}))
    assert not found.matches(LabelSet({"pod": "ax1"}))


@pytest.mark.parametrize("values", [np.full((1, 300), np.nan), np.ones((1, 300)), np.ones((1, 1))])
def test_nothing_is_suspected_of_next_to_nothing(values: np.ndarray) -> None:
    assert suspected(past(values)) == ()


@pytest.mark.filterwarnings("error")
def test_what_is_nothing_or_infinite_and_never_else_is_looked_at_without_a_warning() -> None:
    values = np.zeros((1, DAYS * A_DAY))
    values[0, 77::A_DAY] = 1e300  # As infinity is read.
    assert suspected(past(values, "failed / asked > 0.05")) == ()
