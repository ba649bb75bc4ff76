"""How far one rewrite may go: step, floor, ceiling, freeze windows and cool-down."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from rules.adapt.bounds import ByHour, Static, Trend
from rules.adapt.judge import Candidate, judge
from rules.adapt.limits import cooling, frozen, limited, within_limits
from rules.adapt.search import Objective
from rules.adapt.solve import Proposal, Unchanged, solve, written
from sidecar.config.adapt import AdaptConfig, FreezeWindow, RuleLimits
from tests.unit.rules.histories import START, daily_swing, evidence, noise, proposal


@pytest.mark.parametrize(
    ("value", "old", "limits", "expected"),
    [
        pytest.param(100, 10, None, 50, id="step up"),
        pytest.param(-100, 10, None, -30, id="step down"),
        pytest.param(100, 0, None, 100, id="from zero any step"),
        pytest.param(20, 10, RuleLimits(ceiling=15), 15, id="ceiling"),
        pytest.param(2, 10, RuleLimits(floor=5), 5, id="floor"),
    ],
)
def test_limits(value: float, old: float, limits: RuleLimits | None, expected: float) -> None:
    assert limited(value, old, 4.0, limits) == expected


def test_a_ceiling_bends_the_proposal_or_drops_it() -> None:
    ours = evidence(noise(28))
    found = proposal(solve(ours, Objective(2)))
    bent = within_limits(ours, found, AdaptConfig(limits={"Load": RuleLimits(ceiling=11.5)}), Objective(2))
    assert isinstance(bent, Proposal)
    assert bent.expr == "load > 11.5"
    assert bent.after.n_false < found.before.n_false
    dropped = within_limits(ours, found, AdaptConfig(limits={"Load": RuleLimits(ceiling=10.5)}), Objective(2))
    assert isinstance(dropped, Unchanged)


def test_a_limit_keeps_what_ends_an_alert_on_an_old_server() -> None:
    ours = evidence(noise(28))
    quiet = Candidate(Static(12.5), 0.0, hysteresis=0.5, rest=10.0)
    found = replace(
        proposal(solve(ours, Objective(2))),
        candidate=quiet,
        after=judge(quiet, ours),
        expr=written(quiet, ours),
    )
    bent = within_limits(ours, found, AdaptConfig(limits={"Load": RuleLimits(ceiling=12)}), Objective(2))
    assert isinstance(bent, Proposal)
    assert bent.expr.startswith("(load > 12\n)")
    assert "(load > 11\n) and on" in bent.expr


def test_an_alert_goes_on_by_itself_and_not_by_a_namesake_of_other_labels() -> None:
    ours = evidence(noise(1))
    labels = {"severity": "critical", "zone": "{{ $labels.zone }}", "pod": "any"}
    tier = replace(ours, rule=replace(ours.rule, name='"Load" high', labels=labels))
    told = written(Candidate(Static(12.0), 0.0, hysteresis=0.5, rest=10.0), tier)
    assert told.endswith(
        r'and on () ALERTS{alertname="\"Load\" high",alertstate="firing",severity="critical",pod="any"}'
    )
    assert "and on (pod) ALERTS{" in written(Candidate(Static(12.0), 0.0, hysteresis=0.5, rest=10.0), ours)


@pytest.mark.parametrize(
    ("config", "least", "most"),
    [
        pytest.param(AdaptConfig(), 10, 110, id="free"),
        pytest.param(AdaptConfig(limits={"Load": RuleLimits(ceiling=95)}), 10, 95, id="ceiling"),
        pytest.param(AdaptConfig(limits={"Load": RuleLimits(floor=20)}), 20, 110, id="floor"),
        pytest.param(AdaptConfig(max_step=0.5), 44.5, 133.5, id="step"),
    ],
)
def test_a_table_keeps_within_the_limits_at_each_hour(config: AdaptConfig, least: float, most: float) -> None:
    ours = evidence(daily_swing(40), "load > 89")
    solved = proposal(solve(ours, Objective(2)))
    found = proposal(within_limits(ours, solved, config, Objective(2)))
    assert isinstance(found.candidate.bound, ByHour)
    numbers = found.candidate.bound.table.by_hour()
    assert least <= min(numbers)
    assert max(numbers) <= most
    assert found.after == judge(found.candidate, ours)
    assert (found == solved) == (config == AdaptConfig())


def test_a_line_beyond_the_limits_is_not_proposed() -> None:
    ours = evidence(noise(28))
    found = proposal(solve(ours, Objective(2)))
    ahead = START / 1000 + 88 * 86_400
    climb = Trend(
        11.0, 1 / 86_400, START / 1000, ahead
    )  # To 39 on the last day that is known, to 99 after it.
    line = replace(found, candidate=replace(found.candidate, bound=climb))
    assert within_limits(ours, line, AdaptConfig(), Objective(2)) == line
    for config in (
        AdaptConfig(max_step=2),
        AdaptConfig(limits={"Load": RuleLimits(ceiling=30)}),
        AdaptConfig(limits={"Load": RuleLimits(ceiling=60)}),
    ):
        held = within_limits(ours, line, config, Objective(2))
        assert isinstance(held, Unchanged)
        assert "limits" in held.why


def test_freeze_and_cool_down() -> None:
    start = datetime(2026, 12, 20, tzinfo=UTC)
    window = FreezeWindow(start=start, end=datetime(2027, 1, 3, tzinfo=UTC), why="holidays")
    config = AdaptConfig(freeze=(window,))
    assert "holidays" in frozen(config, start.timestamp() + 1)
    assert frozen(config, start.timestamp() - 1) == ""
    assert cooling(config, None, 0) == ""
    assert "again in 6d" in cooling(config, 0, 86_400)
    assert cooling(config, 0, 8 * 86_400) == ""
