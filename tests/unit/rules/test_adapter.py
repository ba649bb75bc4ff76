"""Rules adapted together: a team's pages a week, incidents of files and the store, what is remembered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rules.adapt.history import Adapted, Adapter, Choice, loosest_enough, pages_by_team
from rules.adapt.joined import with_series
from rules.adapt.solve import Proposal
from rules.adapt.told import KEEP, ToldChange
from rules.backtest.past import BackTester, Window
from rules.incidents import KnownIncident, read_incidents, stored_incidents, within
from rules.read import WrittenRule
from sidecar.config.adapt import AdaptConfig
from sidecar.errors import PullError, PullReason, RuleError
from sidecar.records import Episode, Incident
from sidecar.series import LabelSet, SeriesBatch

MINUTE = 60_000
WINDOW = Window(0, 10 * 1440 * MINUTE, 5 * MINUTE)


class Past:
    """A source with a noisy series of each name, that counts its questions."""

    def __init__(self) -> None:
        self.asked = 0
        self.fails = False
        self.outage = slice(0, 0)

    async def instant(self, expr: str, *, at_ms: int, name: str, max_series: int) -> SeriesBatch:
        raise AssertionError("not asked here")

    async def range(
        self, expr: str, *, start_ms: int, end_ms: int, step_ms: int, name: str, max_series: int
    ) -> SeriesBatch:
        self.asked += 1
        if self.fails:
            raise PullError(PullReason.BAD_QUERY, "nonsense")
        times = np.arange(start_ms, end_ms + 1, step_ms, dtype=np.int64)
        values = 10 + np.random.default_rng(len(name)).standard_t(3, times.size)[None, :]
        values[0, self.outage] = 60.0
        if ">= bool" in expr:
            values = np.where(values > 14, 1.0, np.nan)
        return SeriesBatch(name, (LabelSet({"__name__": "load", "pod": "a"}),), times, values)


def rule(name: str, team: str) -> WrittenRule:
    return WrittenRule(name, f"{name.lower()} > 12", "alerting", "g", labels={"team": team})


async def test_a_teams_rules_are_solved_for_together() -> None:
    rules = [rule("A", "x"), rule("Bb", "x"), rule("Ccc", "y")]
    loose = AdaptConfig(max_false_alarms_per_month=2000)
    free = await Adapter(BackTester(Past()), loose).all(rules, WINDOW, [])
    budget = loose.model_copy(update={"pages_per_week": {"x": 1.5}})
    held = await Adapter(BackTester(Past()), budget).all(rules, WINDOW, [])
    before, after = pages_by_team(free, "team"), pages_by_team(held, "team")
    assert before["x"] > 1.5 >= after["x"]
    assert after["y"] == before["y"], "another team's rules are not touched"


async def test_what_is_enough_for_all_leaves_each_rule_as_sensitive_as_it_can_be() -> None:
    rules = [rule("A", "x"), rule("Bb", "x"), rule("Ccc", "y"), rule("Dddd", "y")]
    strict = await Adapter(BackTester(Past()), AdaptConfig()).all(rules, WINDOW, [])
    eased = await Adapter(BackTester(Past()), AdaptConfig(enough=0.7)).all(rules, WINDOW, [])
    assert fall(strict) > 0.95
    assert 0.7 <= fall(eased) < fall(strict)
    for tight, loose in zip(strict, eased, strict=True):
        assert tight.changed, tight.why_not
        assert loose.changed, loose.why_not
        assert noise(loose) > noise(tight)
    choices = [Choice(options) for options in zip(strict, eased, strict=True)]
    assert loosest_enough(choices, fall(eased)) == eased
    assert loosest_enough(choices, fall(eased) + 0.01) == strict
    assert loosest_enough(choices, None) == strict


async def test_a_team_that_has_enough_still_keeps_to_its_pages() -> None:
    config = AdaptConfig(enough=0.5, pages_per_week={"x": 1.5})
    rules = [rule("A", "x"), rule("Bb", "x"), rule("Ccc", "y")]
    pages = pages_by_team(await Adapter(BackTester(Past()), config).all(rules, WINDOW, []), "team")
    assert pages["x"] <= 1.5 < pages["y"]


async def test_alerts_that_nobody_could_tell_apart_are_left_alone() -> None:
    """Prometheus allows two of a name and labels in a group; one's rewrite was taken for the other's."""
    rules = [rule("A", "x"), replace(rule("A", "x"), expr="b > 3"), rule("Bb", "x")]
    budget = AdaptConfig(max_false_alarms_per_month=2000, pages_per_week={"x": 0.1})
    found = await Adapter(BackTester(Past()), budget).all(rules, WINDOW, [])
    assert [one.rule.expr for one in found] == ["a > 12", "b > 3", "bb > 12"]
    assert ["label of its own" in one.why_not for one in found] == [True, True, False]


def fall(found: Sequence[Adapted]) -> float:
    before = sum(one.outcome.before.n_firings for one in found if one.outcome.before)
    return 1 - sum(one.seen.n_firings for one in found if one.seen) / before


def noise(adapted: Adapted) -> int:
    assert adapted.seen is not None
    return adapted.seen.n_false


async def test_a_rule_with_a_table_is_adapted_again_where_it_is_noisy_and_else_left() -> None:
    def by_half_day(first: int, second: int) -> WrittenRule:
        pieces = f"vector({first}) and on () (hour() < 12) or vector({second}) and on () (hour() >= 12)"
        return WrittenRule("A", f"a > on () group_left () ({pieces})", "alerting", "g")

    noisy, quiet = by_half_day(12, 13), by_half_day(90, 95)
    asked = [ToldChange("A", KEEP, 600.0, "it flaps")]
    for one, told in ((noisy, ()), (noisy, asked), (quiet, ()), (quiet, asked)):
        (found,) = await Adapter(BackTester(Past()), AdaptConfig()).all([one], WINDOW, [], told=told)
        assert found.changed == (one is noisy), found.why_not
        assert not found.joined
        assert found.rule == one
        if one is quiet:
            assert found.written == one
        else:
            assert found.written.expr.startswith("a > ")
            assert found.written.expr != one.expr
            assert "12 to 13 by hour of day →" in found.changes[0]
    flapping = by_half_day(12, 90)
    (found,) = await Adapter(BackTester(Past()), AdaptConfig(max_false_alarms_per_month=1e6)).all(
        [flapping], WINDOW, [], told=asked
    )
    assert found.told
    assert found.written == replace(flapping, keep_firing_seconds=600.0)


async def test_a_rule_that_cannot_be_asked_does_not_cost_the_others() -> None:
    source = Past()
    source.fails = True
    (found,) = await Adapter(BackTester(source), AdaptConfig()).all([rule("A", "x")], WINDOW, [])
    assert not found.changed
    assert found.why_not == "nonsense"


@pytest.mark.parametrize(
    ("warning", "whole"),
    [
        pytest.param("receive series from store-2: connection refused", False, id="a store is away"),
        pytest.param("PromQL info: metric might not be a counter", True, id="about the expression"),
    ],
)
async def test_gaps_of_a_partial_answer_are_no_quiet_past(warning: str, whole: bool) -> None:
    class Gappy(Past):
        async def range(self, expr: str, **how: object) -> SeriesBatch:  # type: ignore[override]
            return replace(await super().range(expr, **how), warnings=(warning,))  # type: ignore[arg-type]

    tester = BackTester(Gappy())
    (found,) = await Adapter(tester, AdaptConfig()).all([rule("A", "x")], WINDOW, [])
    assert found.changed == whole
    assert ("answered in part" in (await tester.one(rule("A", "x"), WINDOW)).error) != whole


async def test_a_rule_that_moved_since_it_was_joined_says_so() -> None:
    joined = rule("A", "x")
    joined = replace(joined, expr=with_series(joined.expr, "A", joined.key))
    moved = replace(joined, group="elsewhere")
    found = await Adapter(BackTester(Past()), AdaptConfig()).all([joined, moved], WINDOW, [])
    assert [one.changed for one in found] == [True, False]
    assert "join it anew" in found[1].why_not


async def test_an_outage_that_nobody_told_of_is_still_caught() -> None:
    source = Past()
    source.outage = slice(1500, 1560)
    (found,) = await Adapter(BackTester(source), AdaptConfig()).all([rule("A", "x")], WINDOW, [])
    assert isinstance(found.outcome, Proposal)
    assert len(found.outcome.before.suspected) == 1
    assert found.outcome.after.suspected == found.outcome.before.suspected


async def test_what_was_answered_is_not_asked_again(tmp_path: Path) -> None:
    source = Past()
    first = await BackTester(source, memory=tmp_path).one(rule("A", "x"), WINDOW)
    again = await BackTester(source, memory=tmp_path).one(rule("A", "x"), WINDOW)
    assert source.asked == 1
    assert again.firings == first.firings
    assert len(first.firings) > 10
    source.fails = True
    broken = await BackTester(source, memory=tmp_path).one(rule("Other", "x"), WINDOW)
    assert broken.error == "nonsense"
    source.fails = False
    mended = await BackTester(source, memory=tmp_path).one(rule("Other", "x"), WINDOW)
    assert not mended.error, "an error is not remembered"


async def test_a_budget_of_samples_bounds_the_series() -> None:
    asked: list[int] = []

    class Counting(Past):
        async def range(self, expr: str, **how: object) -> SeriesBatch:  # type: ignore[override]
            asked.append(how["max_series"])  # type: ignore[arg-type]
            return await super().range(expr, **how)  # type: ignore[arg-type]

    await BackTester(Counting(), max_samples=WINDOW.n_steps * 7).one(rule("A", "x"), WINDOW)
    assert asked == [7]


def test_incidents_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "incidents.yaml"
    path.write_text(
        "- {name: a, start: 2026-11-03T14:00:00Z, end: 2026-11-03T15:00:00+00:00, alerts: [A],"
        " match: {pod: 'a|b'}}\n- {start: 100, end: 200}\n"
    )
    first, second = read_incidents(path)
    assert first.end_ms - first.start_ms == 3_600_000
    assert first.concerns("A")
    assert not first.concerns("B")
    assert first.matches(LabelSet({"pod": "b"}))
    assert not first.matches(LabelSet({"pod": "ab"}))
    assert first.matches(LabelSet())
    assert (second.name, second.start_ms) == ("incident 2", 100_000)
    times = np.array([0, 100_000, 150_000, 10_000_000])
    assert within([second], times).tolist() == [True, True, True, False]


def test_incidents_of_one_name_are_told_apart_and_one_alert_is_a_list_of_one(tmp_path: Path) -> None:
    path = tmp_path / "incidents.yaml"
    path.write_text(
        "".join(f"- {{name: down, start: {n}, end: {n + 1}, alerts: Down}}\n" for n in (100, 200))
    )
    found = read_incidents(path)
    assert [one.name for one in found] == ["down", "down (2)"]
    assert [one.concerns("Down") for one in found] == [True, True]


@pytest.mark.parametrize(
    "text",
    [
        "- {start: .inf, end: 3}",
        "- {name: a}",
        "- {start: 2, end: 1}",
        "- x",
        "{",
        "- {start: 1, end: 2, match: {a: '('}}",
        "- {name: a, start: 2026-13-45, end: 2026-11-02}",
    ],
)
def test_what_is_no_incident_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "incidents.yaml"
    path.write_text(text)
    with pytest.raises(RuleError, match=r"incidents\.yaml"):
        read_incidents(path)


def test_incidents_of_the_store_are_those_that_were_real() -> None:
    def incident(name: str, **facts: object) -> Incident:
        told = {"state": "resolved", "ended_at_ns": 2_000_000_000, **facts}
        return Incident(name, "default", "t", 1_000_000_000, 2_000_000_000, **told)  # type: ignore[arg-type]

    member = Episode("default", "f", 1, 2, {"alertname": "A"}, {}, "", 1, 2)
    found = stored_incidents(
        [
            (incident("real"), [member]),
            (incident("noise", noise=0.9), [member]),
            (incident("open", state="open", ended_at_ns=None), [member]),
            (incident("merged", state="merged"), [member]),
        ],
        now_seconds=7.0,
    )
    assert found == [
        KnownIncident("real", 1000, 2000, frozenset({"A"})),
        KnownIncident("open", 1000, 7000, frozenset({"A"})),
    ]
