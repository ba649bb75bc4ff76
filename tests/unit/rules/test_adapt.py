"""Adaptation on simulated pasts: budget kept, incidents caught, incident weeks not learned, limits held."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

from rules.adapt.bounds import ByHour, Static, Trend, families, hour_of_week
from rules.adapt.history import allowed_forms
from rules.adapt.judge import Candidate, judge
from rules.adapt.search import Objective
from rules.adapt.solve import EASED, Proposal, Unchanged, solve
from rules.incidents import KnownIncident
from sidecar.config.adapt import AdaptConfig
from sidecar.promql.threshold import Comparison, parse_comparison
from tests.unit.rules.histories import (
    DAY,
    MINUTE,
    START,
    clock,
    daily_swing,
    evidence,
    hourly,
    noise,
    proposal,
    with_incident,
)


def test_false_alarms_fall_within_the_budget_and_the_incident_is_caught_as_soon() -> None:
    values = noise(28)
    incident = with_incident(values, 12.3)
    found = proposal(solve(evidence(values, incidents=(incident,)), Objective(2)))
    assert found.before.n_false > 1000
    assert found.after.false_per_month <= 2
    assert found.after.delays["day 12.3"] <= found.before.delays["day 12.3"] + 60
    assert isinstance(found.candidate.bound, Static)
    assert 11.5 < found.candidate.bound.value < 40
    assert found.unseen_after < found.unseen_before
    assert found.false_per_month[0] <= found.unseen_after * 30 / 21 <= found.false_per_month[1]


def test_an_incident_in_which_nothing_stood_out_was_caught_by_chance() -> None:
    values = noise(28)
    incident = with_incident(values, 12.3, height=0.0)
    found = proposal(solve(evidence(values, incidents=(incident,)), Objective(2)))
    assert incident.name in found.before.delays
    assert found.by_chance == {incident.name}
    assert incident.name not in found.after.delays


def test_an_incident_need_not_be_told_of_before_it_shows() -> None:
    """The noise fires as soon as the window begins, which people noted too early; no quiet alarm can."""
    values = noise(28)
    trouble = with_incident(values, 12.3)
    noted = replace(trouble, start_ms=trouble.start_ms - 20 * MINUTE)
    found = proposal(solve(evidence(values, incidents=(noted,)), Objective(2)))
    assert found.before.delays[noted.name] < 600
    assert found.after.delays[noted.name] == 1200
    assert found.after.n_false <= 2


def test_a_long_incident_of_many_series_does_not_stand_out_by_its_number_of_samples() -> None:
    """Of 1,200 samples, one is beyond 999 in a thousand of normal life nearly always."""
    values = np.stack([noise(28, seed) for seed in range(10)])
    incidents = tuple(
        with_incident(values[0], day, minutes=120, height=0.0) for day in (3.2, 8.4, 12.3, 20.1)
    )
    found = proposal(solve(evidence(values, incidents=incidents), Objective(2)))
    assert len(found.before.delays) == 4
    assert found.by_chance == found.before.delays.keys()
    assert found.after.n_false <= 2


def test_what_fires_on_for_weeks_is_not_explained_by_an_incident_amid_it() -> None:
    values = noise(28)
    incident = with_incident(values, 12.3)
    found = solve(evidence(values, "load > 1", incidents=(incident,)), Objective(2))
    assert proposal(found).before.n_false == 27
    assert proposal(found).after.n_false <= 2


def test_less_noise_is_no_reason_to_wait_long_for_a_lower_number() -> None:
    """A number for what is high and short stays one: peaks of a minute raise it, or are waited out."""
    values = noise(28)
    values[np.random.default_rng(3).integers(0, values.size, 30)] += 30
    found = proposal(solve(evidence(values, "load > 30"), Objective(2)))
    assert found.before.false_per_month > 20
    assert isinstance(found.candidate.bound, Static)
    assert found.candidate.bound.value >= 30
    assert found.after.false_per_month <= 2


def test_what_an_incident_pulls_down_does_not_wait_longer_as_well() -> None:
    values = noise(28)
    for first in np.random.default_rng(3).integers(0, values.size, 6):
        values[first : first + 4] += 20
    incident = with_incident(values, 12.3, minutes=60, height=9)
    found = solve(evidence(values, "load > 60", (incident,)), Objective(2))
    assert isinstance(found, Unchanged) or found.candidate.for_seconds <= 60


def test_a_rule_waits_no_longer_than_it_must() -> None:
    """Five minutes leave a false alarm, fifteen none: that is not worth ten minutes of each incident."""
    values = noise(28)
    for day, minutes in ((2.3, 4), (9.4, 4), (13.4, 4), (17.6, 4), (20.2, 4), (24.1, 9)):
        first = int(day * 1440)
        values[first : first + minutes] += 100
    found = proposal(solve(evidence(values, "load > 30"), Objective(1.1)))
    assert found.candidate.for_seconds <= 300


def test_a_number_that_holds_is_not_moved_by_a_hair() -> None:
    values = noise(28)
    # A minute each: to wait for another evaluation is enough.
    values[np.random.default_rng(3).integers(0, values.size, 30)] += 300
    found = proposal(solve(evidence(values, "load > 60"), Objective(2)))
    assert found.changes == ("for 0s → 1m",)


@pytest.mark.parametrize(("operator", "least"), [("<", 0.0), ("<=", -np.inf)])
def test_a_table_for_what_is_never_negative_has_no_number_below_0(operator: str, least: float) -> None:
    """`<= 0` asks whether nothing is left, and is true of a night in which nothing comes."""
    times = clock(28)
    swing = np.maximum(50 * (1 + np.sin(2 * np.pi * (times / DAY))), 1)
    values = np.random.default_rng(2).poisson(swing).astype(float)
    comparison = parse_comparison(f"load {operator} 30")
    assert isinstance(comparison, Comparison)
    forms = families(values[None], times, np.ones(times.size, dtype=np.bool_), comparison)
    (by_hour,) = [form for form in forms if form.form == "by hour"]
    numbers = by_hour.make(by_hour.levels[-1]).at(times)
    assert numbers.min() >= least
    assert (numbers.min() < 0) == (least < 0)


def test_a_table_from_below_can_fire_at_every_hour_in_which_something_is_always_there() -> None:
    """An alert on traffic that is gone must not sleep at night."""
    times = clock(28)
    swing = 60 + 50 * np.sin(2 * np.pi * (times / DAY))
    values = np.random.default_rng(2).poisson(swing).astype(float)
    comparison = parse_comparison("load < 30")
    assert isinstance(comparison, Comparison)
    forms = families(values[None], times, np.ones(times.size, dtype=np.bool_), comparison)
    (by_hour,) = [form for form in forms if form.form == "by hour"]
    numbers = by_hour.make(by_hour.levels[-1]).at(times)
    assert 0 < numbers.min() < values.min()


def test_a_threshold_that_missed_its_incident_comes_down() -> None:
    values = noise(28)
    incident = with_incident(values, 12.3, height=15)
    found = proposal(solve(evidence(values, "load > 60", (incident,)), Objective(2)))
    assert "day 12.3" not in found.before.delays
    assert "day 12.3" in found.after.delays


def test_a_daily_swing_gets_a_table_where_one_number_will_not_do() -> None:
    days = 28
    times = clock(days)
    swing = 50 + 40 * np.sin(2 * np.pi * (times / DAY)) + np.random.default_rng(2).normal(0, 1, times.size)
    # A drop that is well within the day's range, at the height of the day.
    first = int(12.2 * 1440)
    day_top = first + int(np.argmax(swing[first : first + 1440]))
    values = swing.copy()
    incident = with_incident(values, day_top / 1440, height=-60)
    found = proposal(solve(evidence(values, "load < 30", (incident,)), Objective(2)))
    assert isinstance(found.candidate.bound, ByHour)
    assert incident.name in found.after.delays
    assert found.after.false_per_month <= 2
    assert "hour()" in found.expr


def test_a_table_is_taken_where_one_number_would_do_far_from_life_at_most_hours() -> None:
    ours = evidence(daily_swing(40), "load > 89")
    table = proposal(solve(ours, Objective(2)))
    number = proposal(solve(evidence(daily_swing(40), "89 < load"), Objective(2)))  # No place for a table.
    assert isinstance(table.candidate.bound, ByHour)
    assert isinstance(number.candidate.bound, Static)
    assert table.after.false_per_month <= 2
    assert number.after.false_per_month <= 2
    at_night = clock(28) % DAY == DAY * 3 // 4  # Where the swing is lowest.
    odd = evidence(np.where(at_night, 60.0, daily_swing(40)), "load > 89")
    by_table, by_number = (judge(found.candidate, odd).n_firings for found in (table, number))
    assert by_table >= at_night.sum() > by_number, "only a table tells of what is unusual for its hour"


@pytest.mark.parametrize("config", [AdaptConfig(tables=False), AdaptConfig(tables=False, lines=False)])
def test_where_tables_are_forbidden_a_number_is_found_or_nothing_changes(config: AdaptConfig) -> None:
    objective = Objective(2, forms=allowed_forms(config))
    found = proposal(solve(evidence(daily_swing(40), "load > 89"), objective))
    assert isinstance(found.candidate.bound, Static)
    assert "hour()" not in found.expr


def test_where_lines_are_forbidden_none_is_drawn() -> None:
    climb = 10 + (clock(28) - START) / DAY * 2 + np.random.default_rng(3).normal(0, 0.3, 28 * 1440)
    incident = with_incident(climb, 5.5, height=12)
    for config, a_line in ((AdaptConfig(), True), (AdaptConfig(lines=False), False)):
        objective = Objective(2, forms=allowed_forms(config))
        found = solve(evidence(climb, "load > 15", (incident,)), objective)
        assert (isinstance(found, Proposal) and isinstance(found.candidate.bound, Trend)) == a_line


SHARE = 'sum(rate(asked{code="5"}[5m])) / sum(rate(asked[5m]))'


@pytest.mark.parametrize("expr", [f"{SHARE} > 0.05", "1 - some_ratio > 0.05", "some_ratio >= 0.05"])
def test_a_threshold_of_a_share_stays_below_one_where_it_can_be_reached(expr: str) -> None:
    rng = np.random.default_rng(4)
    values = np.abs(rng.normal(0.02, 0.02, 28 * 1440)).clip(0, 1)
    for day in range(28):
        values[day * 1440 + 17 * day :][100:110] = rng.uniform(0.5, 1.0, 10)
    found = solve(evidence(values, expr), Objective(2))
    if isinstance(found, Proposal):
        assert (found.candidate.bound.at(clock(28)) < 1).all(), "nothing is more than all"


@pytest.mark.filterwarnings("error")
def test_a_ratio_over_nothing_makes_no_threshold_that_only_it_reaches() -> None:
    rng = np.random.default_rng(4)
    values = np.abs(rng.normal(0.02, 0.02, 28 * 1440))
    for day in range(28):
        values[day * 1440 + day :][100:108] = 1e300  # As infinity is read.
    for ours in (
        evidence(values, "failed / asked > 0.05"),
        evidence(values, "failed / asked > 0.05", for_seconds=60),
    ):
        found = solve(ours, Objective(2))
        if isinstance(found, Proposal):
            assert (found.candidate.bound.at(clock(28)) < 1).all()
    incident = with_incident(values, 12.3, height=0.0)
    first = int(12.3 * 1440)
    values[first : first + 30] = 1e300
    caught = proposal(solve(evidence(values, "failed / asked > 0.05", (incident,)), Objective(2)))
    assert incident.name in caught.after.delays, "what is infinite stands out"


def test_a_constant_needs_no_table() -> None:
    found = proposal(solve(evidence(np.full(28 * 1440, 7.0), "load > 5"), Objective(2)))
    assert found.expr == "load > 7"


def test_hardly_any_swing_needs_no_table() -> None:
    found = proposal(solve(evidence(daily_swing(1.5), "load > 52"), Objective(2)))
    assert isinstance(found.candidate.bound, Static)


def test_a_climb_gets_a_line() -> None:
    times = clock(28)
    climb = 10 + (times - START) / DAY * 2 + np.random.default_rng(3).normal(0, 0.3, times.size)
    values = climb.copy()
    incident = with_incident(values, 5.5, height=12)
    found = proposal(solve(evidence(values, "load > 15", (incident,)), Objective(2)))
    assert isinstance(found.candidate.bound, Trend)
    assert incident.name in found.after.delays
    assert "time()" in found.expr


def test_an_incident_week_teaches_nothing() -> None:
    clean, poisoned = noise(28), noise(28)
    first, last = 10 * 1440, 17 * 1440
    poisoned[first:last] += 25
    window = KnownIncident("bad week", START + first * MINUTE, START + last * MINUTE, frozenset({"Other"}))
    of_clean = proposal(solve(evidence(clean), Objective(2))).candidate.bound
    of_poisoned = proposal(solve(evidence(poisoned, incidents=(window,)), Objective(2))).candidate.bound
    assert isinstance(of_clean, Static)
    assert isinstance(of_poisoned, Static)
    assert of_poisoned.value == pytest.approx(of_clean.value, rel=0.05)


@pytest.mark.parametrize(
    ("values", "expr", "words"),
    [
        pytest.param(noise(3), "load > 10.5", "days of history", id="short"),
        pytest.param(np.full(28 * 1440, np.nan), "load > 10.5", "no value", id="nothing there"),
        pytest.param(
            np.where(np.arange(28 * 1440) < 90, 10.0, np.nan),
            "load > 9",
            "at 90 of 40320 normal",
            id="sparse",
        ),
        pytest.param(noise(28), "load > 30", "within the budget", id="in order"),
    ],
)
def test_nothing_is_proposed(values: np.ndarray, expr: str, words: str) -> None:
    found = solve(evidence(values, expr), Objective(2))
    assert isinstance(found, Unchanged)
    assert words in found.why


def test_two_weeks_of_hourly_samples_are_enough() -> None:
    values = 10 + np.random.default_rng(3).normal(0, 0.5, 14 * 24)
    found = proposal(solve(hourly(values, "load > 10.6"), Objective(2)))
    assert found.before.n_false > 20
    assert found.after.n_false <= 1


def test_noise_that_began_late_is_held_against_thresholds_that_earlier_weeks_would_have_made() -> None:
    values = np.random.default_rng(3).normal(10, 0.5, 16 * 24)
    values[13 * 24 :] = np.random.default_rng(4).normal(11, 0.5, 3 * 24)
    found = proposal(solve(hourly(values, "load > 11.4"), Objective(2)))
    assert found.unseen_after < found.unseen_before


def test_a_threshold_that_nothing_reaches_says_so() -> None:
    values = np.random.default_rng(3).exponential(5.0, 14 * 24).round()
    found = proposal(solve(hourly(values, "crashes < 1"), Objective(2)))
    assert "think of deleting it" in " ".join(found.changes)


def test_a_threshold_from_below_stays_where_what_is_never_negative_can_go() -> None:
    values = np.random.default_rng(3).gamma(4.0, 5.0, 14 * 24)
    found = proposal(solve(hourly(values, "requests < 8"), Objective(2)))
    assert isinstance(found.candidate.bound, Static)
    assert 0 < found.candidate.bound.value <= values.min()
    falling = proposal(solve(hourly(values - 60, "level < -52"), Objective(2)))
    assert isinstance(falling.candidate.bound, Static)
    assert falling.candidate.bound.value < -60, "what may be negative gets its room"


@pytest.mark.parametrize(
    ("expr", "level", "expected"),
    [
        pytest.param("load > 14", 14.0, 14.0, id="the old number from above"),
        pytest.param("load < 6", -6.0, 6.0, id="the old number from below"),
        pytest.param("load < 6", -0.01234, 0.012, id="near zero"),
        pytest.param("load < 6", 0.0, 0.0, id="zero"),
    ],
)
def test_the_number_of_a_level(expr: str, level: float, expected: float) -> None:
    comparison = parse_comparison(expr)
    assert isinstance(comparison, Comparison)
    values, times = noise(2)[None, :], clock(2)
    static = families(values, times, np.ones(times.size, dtype=np.bool_), comparison)[0]
    bound = static.make(level)
    assert isinstance(bound, Static)
    assert bound.value == pytest.approx(expected, rel=0.01)
    assert str(bound.value) == str(abs(bound.value)), "0, not -0"


def test_the_room_follows_what_life_varies_by_not_its_highest_peak() -> None:
    values = noise(28)
    for start in range(600, values.size, 7 * 1440):
        values[start : start + 20] = 30.0
    one_level = proposal(solve(evidence(values), Objective(2))).candidate.bound
    assert isinstance(one_level, Static)
    assert 30 < one_level.value < 32
    # Six pods, each at its own level: the room is what one of them moves by.
    levels = 10 * np.arange(1, 7)[:, None] + np.random.default_rng(8).normal(0, 0.5, (6, 28 * 1440))
    pods = proposal(solve(evidence(levels, "load > 60.5"), Objective(2))).candidate.bound
    assert isinstance(pods, Static)
    assert 61 < pods.value < 64


def test_where_no_threshold_keeps_to_the_budget_the_quietest_that_loses_nothing_is_proposed() -> None:
    values = noise(28)
    incident = with_incident(values, 12.3, height=3.0)
    for start in range(600, values.size, 3_200):
        values[start : start + 3] += 3.5  # Thirteen short peaks, higher than the incident.
    seen = evidence(values, "load > 10.8", (incident,))
    found = proposal(solve(seen, Objective(2)))
    assert found.changes[-1] == EASED
    assert 2 < found.after.false_per_month < found.before.false_per_month / 10
    assert "day 12.3" in found.after.delays


def test_the_threshold_stays_near_normal_life_however_high_the_known_incident_was() -> None:
    values = noise(28)
    incident = with_incident(values, 12.3, height=500.0)
    found = proposal(solve(evidence(values, incidents=(incident,)), Objective(2)))
    assert isinstance(found.candidate.bound, Static)
    assert found.candidate.bound.value < 14  # Normal life ends near 12.


def test_two_weeks_know_no_hours_of_the_week() -> None:
    times = START + np.arange(15 * 24) * 60 * MINUTE
    values = 10 + 5 * np.sin(2 * np.pi * np.arange(times.size) / 24)
    values += np.random.default_rng(5).normal(0, 0.1, times.size)
    comparison = parse_comparison("load > 14")
    assert isinstance(comparison, Comparison)
    forms = families(values[None, :], times, np.ones(times.size, dtype=np.bool_), comparison)
    by_hour = next(family for family in forms if family.form == "by hour").make(3.0)
    assert isinstance(by_hour, ByHour)
    assert by_hour.table.period == 24


def test_an_old_server_gets_hysteresis_in_place_of_keep_firing_for() -> None:
    ours = evidence(noise(10), "load > 11")
    quiet = Candidate(Static(11.0), 0.0, hysteresis=0.5, rest=10.0)
    plain = judge(Candidate(Static(11.0), 0.0), ours)
    assert judge(quiet, ours).n_firings < plain.n_firings
    found = solve(replace(ours, values=ours.values), Objective(2, knows_keep_firing=False))
    assert not isinstance(found, Proposal) or found.candidate.keep_firing_seconds == 0


def test_hour_of_week_is_promqls() -> None:
    moment = datetime(2026, 11, 21, 13, 30, tzinfo=UTC)  # A Saturday.
    assert hour_of_week(np.array([round(moment.timestamp() * 1000)])) == [6 * 24 + 13]
