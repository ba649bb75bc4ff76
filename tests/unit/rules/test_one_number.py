"""What one number cannot do: hold while life climbs, suit series of all sizes; how far a limit lets it go."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from rules.adapt.bounds import Static
from rules.adapt.judge import Evidence
from rules.adapt.limits import within_limits
from rules.adapt.search import Objective
from rules.adapt.solve import Proposal, Unchanged, solve
from rules.incidents import KnownIncident
from rules.read import WrittenRule
from sidecar.config.adapt import AdaptConfig
from sidecar.promql.threshold import Comparison, parse_comparison
from sidecar.series import LabelSet

HOUR = 3_600_000
START = 1_700_000_000_000 // HOUR * HOUR
N = 28 * 24
DAYS = np.arange(N) / 24


def hourly(values: np.ndarray, expr: str) -> Evidence:
    comparison = parse_comparison(expr)
    assert isinstance(comparison, Comparison)
    values = np.atleast_2d(values)
    labels = tuple(LabelSet({"instance": str(n)}) for n in range(len(values)))
    times = START + np.arange(values.shape[1]) * HOUR
    return Evidence(WrittenRule("Some", expr, "alerting"), comparison, labels, times, values)


def noise(width: float, shape: int | tuple[int, int] = N) -> np.ndarray:
    return np.random.default_rng(3).normal(0, width, shape)


FILLS = 0.5 + 0.3 * DAYS / 28 + noise(0.01)
SPIKES = np.where(np.random.default_rng(4).random((12, N)) < 0.05, 0.9, 0.5) + noise(0.01, (12, N))


@pytest.mark.parametrize(
    ("values", "expr", "words"),
    [
        pytest.param(
            FILLS,
            "disk > 0.7",
            "climbs by 0.0753 a week: 0.88 would be crossed in 7d;",
            id="a disk that fills",
        ),
        pytest.param(1 - FILLS, "free < 0.3", "sinks by 0.0753 a week: 0.12 would", id="what is left of it"),
        pytest.param(DAYS, "age_days > 20", "climbs by 7 a week: ", id="an age"),
        pytest.param(
            np.vstack([FILLS, np.full((9, N), 0.4)]), "disk > 0.7", "climbs by", id="one that fills of ten"
        ),
    ],
)
def test_a_number_is_not_moved_after_what_climbs(values: np.ndarray, expr: str, words: str) -> None:
    found = solve(hourly(values, expr), Objective(2))
    assert isinstance(found, Unchanged)
    assert words in found.why


@pytest.mark.parametrize(
    ("values", "expr"),
    [
        pytest.param(np.where(DAYS < 14, 10, 20) + noise(1), "load > 20.5", id="a new level"),
        pytest.param(10 + 10 * (DAYS % 6.3) / 6.3 + noise(0.2), "log > 17", id="a disk that is emptied"),
        pytest.param(
            100 + 0.2 * DAYS + 30 * (DAYS % 7 < 5) + noise(5), "asked > 135", id="a week that grows a little"
        ),
        pytest.param(np.vstack([FILLS, SPIKES]), "disk > 0.75", id="one that fills amid noise of others"),
    ],
)
def test_what_does_not_climb_for_weeks_gets_its_number(values: np.ndarray, expr: str) -> None:
    found = solve(hourly(values, expr), Objective(2))
    assert isinstance(found, Proposal), found


SIZES = np.array([[1.0], [2.0], [3.0], [300.0]])
ALIKE = np.array([[1.0], [2.0], [3.0], [5.0]])


@pytest.mark.parametrize(
    ("values", "expr", "said"),
    [
        pytest.param(SIZES * (10 + noise(1, (4, N))), "backlog > 3000", True, id="one is large"),
        pytest.param(ALIKE * (10 + noise(1, (4, N))), "backlog > 50", False, id="of one size"),
        pytest.param(10 / SIZES * (10 + noise(1, (4, N))), "rate < 0.3", True, id="one is small"),
        pytest.param(10 / SIZES * (10 + noise(1, (4, N))), "rate > 100", False, id="small ones need no care"),
    ],
)
def test_series_of_many_sizes_are_told_of(values: np.ndarray, expr: str, said: bool) -> None:
    found = solve(hourly(values, expr), Objective(2))
    assert isinstance(found, Proposal), found
    assert ("no one number suits its 4 series" in "; ".join(found.changes)) == said


def test_where_nothing_is_proposed_for_them_that_is_why() -> None:
    evidence = hourly(SIZES * (10 + noise(1, (4, N))), "backlog > 60")
    found = solve(evidence, Objective(2))
    assert isinstance(found, Proposal)
    limited = within_limits(evidence, found, AdaptConfig(max_step=4), Objective(2))
    assert isinstance(limited, Unchanged)
    assert "the limits leave it no better threshold; no one number suits its 4 series" in limited.why


def test_a_limit_is_gone_to_no_further_than_that_makes_it_quieter() -> None:
    """Between 0.3 and its peaks of 1.5 nothing ever is: 0.68 is no quieter than a number near 0.3."""
    values = 0.13 + np.abs(noise(0.01))
    values[::24] = 0.3
    values[::96] = 1.5
    evidence = hourly(values, "cpu > 0.136")
    found = solve(evidence, Objective(2))
    assert isinstance(found, Proposal)
    limited = within_limits(evidence, found, AdaptConfig(max_step=4), Objective(2))
    assert isinstance(limited, Proposal)
    assert isinstance(limited.candidate.bound, Static)
    assert 0.3 <= limited.candidate.bound.value < 0.5
    assert limited.after.n_false == 7
    assert found.unseen_after == 0
    assert limited.unseen_after == 5, "what a limit leaves on weeks not learned from is said of the limit"


@pytest.mark.parametrize(
    ("n_peaks", "budget", "strict", "left"),
    [
        pytest.param(4, 2, False, True, id="four, where two are usual"),
        pytest.param(5, 2, False, False, id="five are more than chance"),
        pytest.param(3, 2, True, False, id="asked to the letter"),
        pytest.param(2, 0.1, False, False, id="two, where none is wanted"),
    ],
)
def test_what_may_come_by_chance_within_the_budget_is_no_reason_for_another_number(
    n_peaks: int, budget: float, strict: bool, left: bool
) -> None:
    values = 10 + noise(0.1)
    values[np.arange(n_peaks) * 100 + 99] = 30
    found = solve(hourly(values, "load > 20"), Objective(budget, strict=strict))
    assert (isinstance(found, Unchanged) and found.why == "its false alarms are within the budget") == left


def test_a_quiet_rule_that_missed_an_incident_is_rewritten_to_tell_of_it_or_not_at_all() -> None:
    """The incident is shorter than the rule waits; a higher number, to save three alarms, helps nobody."""
    values = 10 + noise(0.1)
    values[[50, 51, 52, 450, 451, 452, 600, 601, 602]] = 30
    values[100] = 40
    evidence = hourly(values, "load > 25")
    missed = KnownIncident("outage", *evidence.times[[100, 101]].tolist(), frozenset({"Some"}))
    rule = replace(evidence.rule, for_seconds=7200.0)
    found = solve(replace(evidence, rule=rule, incidents=(missed,)), Objective(2))
    assert isinstance(found, Unchanged)
    assert found.why == (
        "its false alarms are within the budget; no rewrite tells of what it missed (outage)"
    )


def test_weeks_after_a_past_that_was_too_short_to_choose_on_say_nothing_of_the_choice() -> None:
    """Four peaks as high as the incident begins are 17 a month after one week, and four after four."""
    values = 10 + noise(0.1)
    values[20::30] = 17
    values[[25, 65, 85, 145]] = 20
    values[120:123] = 20, 20, 30
    evidence = hourly(values, "load > 15")
    times = evidence.times[[120, 122]].tolist()
    found = solve(replace(evidence, incidents=(KnownIncident("outage", *times),)), Objective(8))
    assert isinstance(found, Proposal)
    assert found.unseen_before == 11, "17 with the second week's"
    assert found.unseen_after == 0
    assert found.false_per_month[1] < 20
