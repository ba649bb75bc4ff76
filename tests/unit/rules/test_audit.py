"""Every kind of finding that needs no server, on a rule that has the fault and on one that has not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from rules.audit.finding import Finding, Kind, ranked
from rules.audit.history import audit_past, far_off, without_number
from rules.audit.source import audit_source
from rules.audit.text import audit_text, ungated
from rules.backtest.firing import Firing
from rules.backtest.past import RulePast, Window
from rules.read import WrittenRule, taken_apart
from sidecar.errors import PullError, PullReason
from sidecar.series import FloatArray, LabelSet, SeriesBatch

GOOD = WrittenRule(
    "Good",
    "a > 1",
    "alerting",
    for_seconds=120,
    labels={"severity": "page", "team": "x"},
    annotations={"runbook_url": "https://example.com", "summary": "it is bad"},
)
MINUTE = 60_000
WINDOW = Window(0, 28 * 1440 * MINUTE, MINUTE)
RATIO = 'sum(rate(bad_total{job="x"}[5m])) / sum(rate(all_total[5m])) > 0.1'


def like(name: str, **changes: object) -> WrittenRule:
    return replace(GOOD, name=name, **changes)  # type: ignore[arg-type]


def kinds(*rules: WrittenRule) -> set[Kind]:
    return {finding.kind for finding in audit_text(rules)}


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        pytest.param([GOOD], set(), id="in order"),
        pytest.param([like("A", labels={"severity": "page"})], {Kind.NO_OWNER}, id="no owner"),
        pytest.param([like("A", annotations={"summary": "x"})], {Kind.NO_RUNBOOK}, id="no runbook"),
        pytest.param([like("low_disk")], {Kind.NAMING}, id="not in CamelCase"),
        pytest.param([like("A", labels={"generator": "pronoia"}, annotations={})], set(), id="pronoia's own"),
        pytest.param(
            [like("A", labels={"team": "x", "severity": "page", "now": "{{ $value }}"})],
            {Kind.CHANGING_IDENTITY},
            id="value in a label",
        ),
        pytest.param([like("A", health="err", last_error="x")], {Kind.BROKEN}, id="broken"),
        pytest.param(
            [like("A", evaluation_seconds=5.0, interval_seconds=15.0)], {Kind.EXPENSIVE}, id="expensive"
        ),
        pytest.param([GOOD, like("B", expr="a  >  1")], {Kind.DUPLICATE}, id="duplicate"),
        pytest.param([GOOD, like("B", expr="a > 2")], {Kind.IMPLIED}, id="implied"),
        pytest.param([GOOD, like("Good", expr="b > 2")], {Kind.TWINS}, id="same name and labels"),
        pytest.param([GOOD, like("Good", expr="b > 2", group="other")], set(), id="of another group"),
        pytest.param(
            [GOOD, like("B", expr="a > 2", labels={"severity": "critical", "team": "x"})],
            set(),
            id="implied by a milder one is an escalation",
        ),
    ],
)
def test_text(rules: list[WrittenRule], expected: set[Kind]) -> None:
    assert kinds(*rules) == expected


def test_each_rule_is_taken_apart_once_and_not_once_a_pair(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 150 rules, as many come with a cluster, pairs took half a minute."""
    read: list[str] = []

    def noted(rule: WrittenRule) -> object:
        read.append(rule.name)
        return taken_apart(rule)

    monkeypatch.setattr("rules.audit.text.taken_apart", noted)
    audit_text([like(f"A{n}", expr=f"a{n} > 1") for n in range(20)])
    assert len(read) == 20


@pytest.mark.parametrize(
    ("expr", "denominator"),
    [
        pytest.param(RATIO, "sum(rate(all_total[5m]))", id="ungated"),
        pytest.param(RATIO + " and sum(rate(all_total[5m])) > 1", "", id="gated"),
        pytest.param("free_bytes / size_bytes < 0.1", "", id="a ratio of levels"),
    ],
)
def test_ratios_that_nothing_gates(expr: str, denominator: str) -> None:
    assert ungated(like("A", expr=expr)) == denominator


class Traffic:
    """A server on which everything is there, and so many events a second at the fewest."""

    def __init__(self, fewest: float) -> None:
        self.fewest = fewest

    async def series(self, matches: Sequence[str], *, start_ms: int, end_ms: int) -> list[LabelSet]:
        return [LabelSet({"a": "b"})]

    async def label_values(self, label: str) -> list[str]:
        return ["bad_total", "all_total"]

    async def instant(self, expr: str, *, at_ms: int, name: str, max_series: int) -> SeriesBatch:
        value = self.fewest if "min_over_time((sum(rate(all_total[5m])))[28d:1h])" in expr else 1.0
        return SeriesBatch(name, (LabelSet(),), np.array([at_ms]), np.array([[value]]))


@pytest.mark.parametrize(
    ("fewest", "expected"),
    [
        pytest.param(0.02, {Kind.UNGATED_RATIO}, id="low at night"),
        pytest.param(40.0, set(), id="never low"),
    ],
)
async def test_a_gate_is_asked_for_only_where_traffic_is_ever_low(fewest: float, expected: set[Kind]) -> None:
    found = await audit_source([like("A", expr=RATIO)], Traffic(fewest), WINDOW)
    assert {finding.kind for finding in found} == expected


class Listening(Traffic):
    """A server that notes what it is asked for, and has none of it."""

    def __init__(self) -> None:
        super().__init__(1.0)
        self.asked: list[str] = []

    async def series(self, matches: Sequence[str], *, start_ms: int, end_ms: int) -> list[LabelSet]:
        self.asked += matches
        return []


async def test_names_in_quotes_are_asked_for_as_they_are() -> None:
    rule = like("A", expr='sum by ("http.route") (rate({"http.errors", "http.route"="/"}[5m])) > 3')
    server = Listening()
    (found,) = await audit_source([rule], server, WINDOW)
    assert server.asked == ['{__name__="http.errors","http.route"="/"}']
    assert (found.kind, found.evidence) == (Kind.MISSING_SERIES, "there is no metric http.errors")


class Silence(Traffic):
    """A server on which no series is."""

    async def series(self, matches: Sequence[str], *, start_ms: int, end_ms: int) -> list[LabelSet]:
        return []


class Strict(Traffic):
    """A server that refuses what names a."""

    async def instant(self, expr: str, *, at_ms: int, name: str, max_series: int) -> SeriesBatch:
        if "a_total" in expr:
            raise PullError(PullReason.BAD_QUERY, "many-to-many matching not allowed")
        return await super().instant(expr, at_ms=at_ms, name=name, max_series=max_series)


async def test_a_rule_that_the_server_refuses_does_not_end_the_audit_of_others() -> None:
    refused = like("B", expr="(a_total * on () group_left () b) / c > 1")
    found = await audit_source([refused, like("A", expr=RATIO)], Strict(0.0), WINDOW)
    assert [(one.rule, one.kind) for one in found] == [
        (refused.key, Kind.UNASKABLE),
        (like("A").key, Kind.UNGATED_RATIO),
    ]
    assert "many-to-many" in found[0].evidence


async def test_of_our_own_series_some_are_there_only_while_something_is_wrong() -> None:
    absent = 'pronoia_series_absent{query="a"} > 0'
    ours = like("QueueAbsent", expr=absent, labels={"generator": "pronoia"})
    found = await audit_source([ours, like("Theirs", expr=absent)], Silence(0.0), WINDOW)
    assert [finding.rule for finding in found] == [like("Theirs").key]


async def test_what_a_loaded_rule_records_is_not_called_unknown() -> None:
    recording = like("errors:rate5m", kind="recording", expr="rate(bad_total[5m])")
    rules = [recording, like("A", expr="errors:rate5m > 1"), like("B", expr="other > 1")]
    found = await audit_source(rules, Silence(0.0), WINDOW)
    kinds = {finding.rule.split("/")[-1].split("{")[0]: finding.kind for finding in found}
    assert (kinds["A"], kinds["B"]) == (Kind.MATCHES_NOTHING, Kind.MISSING_SERIES)
    (words,) = (finding.evidence for finding in found if "is recorded by a rule" in finding.evidence)
    assert words.startswith("errors:rate5m")


def past(name: str, *spans: tuple[int, int]) -> RulePast:
    """Firings from minute to minute, of one series."""
    fired = tuple(Firing(0, start * MINUTE, end * MINUTE, start * MINUTE) for start, end in spans)
    return RulePast(like(name), WINDOW, (LabelSet(),), fired)


def test_of_a_rule_without_for_that_never_fired_no_firings_are_counted() -> None:
    (finding, _) = audit_past([replace(past("A"), rule=like("A", for_seconds=0.0))])
    assert finding.evidence == "one evaluation is enough for it to fire"


def fleet(n_pods: int) -> RulePast:
    """Pods of a service that fire together, four times."""
    labels = tuple(LabelSet({"service": "s", "pod": str(n)}) for n in range(n_pods))
    fired = tuple(
        Firing(pod, day * 1440 * MINUTE, (day * 1440 + 30) * MINUTE, day * 1440 * MINUTE)
        for pod in range(n_pods)
        for day in range(1, 5)
    )
    return RulePast(like("A"), WINDOW, labels, fired)


def told(*pasts: RulePast) -> set[Kind]:
    return {finding.kind for finding in audit_past(pasts)}


@pytest.mark.parametrize(
    ("pasts", "expected"),
    [
        pytest.param([past("A", (100, 130), (5000, 5060))], set(), id="in order"),
        pytest.param([past("A")], {Kind.NEVER}, id="never"),
        pytest.param(
            [replace(past("A"), rule=replace(like("A"), labels={"generator": "pronoia"}))],
            set(),
            id="ours, never",
        ),
        pytest.param([past("A", (0, 39_000))], {Kind.CONSTANT}, id="constantly"),
        pytest.param([past("A", *((n * 20, n * 20 + 10) for n in range(10)))], {Kind.FLAPS}, id="flaps"),
        pytest.param([past("A", *((n * 500, n * 500 + 2) for n in range(10)))], {Kind.BRIEF}, id="brief"),
        pytest.param(
            [past(name, *((n * 500, n * 500 + 60) for n in range(10))) for name in "AB"],
            {Kind.CO_FIRES},
            id="co-fire",
        ),
        pytest.param([fleet(8)], {Kind.MANY_AT_ONCE}, id="a fleet"),
        pytest.param(
            [replace(past("A", (1, 9)), rule=like("A", for_seconds=0.0))], {Kind.NO_FOR}, id="no for"
        ),
        pytest.param([RulePast(GOOD, WINDOW, error="nonsense")], {Kind.BROKEN}, id="cannot be asked"),
    ],
)
def test_past(pasts: list[RulePast], expected: set[Kind]) -> None:
    assert told(*pasts) == expected


def test_what_always_fires_does_so_all_of_the_time_and_no_more() -> None:
    window = Window(0, 10 * MINUTE, MINUTE // 6)
    fired = (Firing(0, 0, window.end_ms + window.step_ms, 0),)
    found = audit_past([RulePast(GOOD, window, (LabelSet(),), fired)])
    (share,) = (finding.evidence for finding in found if finding.kind is Kind.CONSTANT)
    assert share == "one of its series fired 100% of 10 minutes"


@pytest.mark.parametrize(("minutes", "words"), [(1, "; 1 of 1 firings were over within 2 minutes"), (9, "")])
def test_firings_that_last_are_no_evidence_for_a_wait(minutes: int, words: str) -> None:
    without = replace(past("A", (1, 1 + minutes)), rule=like("A", for_seconds=0.0))
    (found,) = [one for one in audit_past([without]) if one.kind is Kind.NO_FOR]
    assert found.evidence == "one evaluation is enough for it to fire" + words


@pytest.mark.parametrize(
    ("threshold", "far"), [pytest.param(1000, True, id="far"), pytest.param(25, False, id="near")]
)
def test_a_threshold_out_of_reach(threshold: float, far: bool) -> None:
    rule = like("A", expr=f"a > {threshold}")
    values = np.random.default_rng(1).normal(10, 2, (1, 1000))
    finding = far_off(RulePast(rule, WINDOW, (LabelSet(),)), values)
    assert (finding is not None) is far


HOURS = np.arange(0, WINDOW.end_ms, 60 * MINUTE)
FULL = 0.6 + np.random.default_rng(2).normal(0, 0.01, HOURS.size)


@pytest.mark.parametrize(
    ("values", "advice"),
    [
        pytest.param([FULL], "raise it", id="a disk that is full"),
        pytest.param([FULL + 0.3 * HOURS / WINDOW.end_ms], "the time that is left", id="one that fills"),
        pytest.param([FULL, FULL, 30 * FULL], "split the rule", id="one of three is large"),
    ],
)
def test_no_higher_number_is_advised_where_none_is_a_way_out(values: list[FloatArray], advice: str) -> None:
    rule = like("DiskUsed", expr="disk_used > 0.5")
    found = Finding(rule.key, Kind.CONSTANT, "it fired 90% of 28 days", "raise it")
    labels = tuple(LabelSet({"instance": str(n)}) for n in range(len(values)))
    batch = SeriesBatch("q", labels, HOURS, np.stack(values))
    assert advice in without_number(RulePast(rule, WINDOW, labels), found, batch).proposal


def test_the_worst_come_first() -> None:
    mild, bad = Finding("a", Kind.NO_RUNBOOK, "", ""), Finding("b", Kind.FLAPS, "", "", 1)
    worse = Finding("c", Kind.FLAPS, "", "", 9)
    assert ranked([mild, bad, worse]) == [worse, bad, mild]
