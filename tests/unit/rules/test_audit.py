"""Every kind of finding that needs no server, on a rule that has the fault and on one that has not."""

from __future__ import annotations

import numpy as np
import pytest

from rules.audit.finding import Finding, Kind, ranked
from rules.audit.history import audit_past, far_off
from rules.audit.text import audit_text
from rules.backtest.firing import Firing
from rules.backtest.past import RulePast, Window
from rules.read import WrittenRule
from sidecar.series import LabelSet

GOOD = WrittenRule(
    "Good",
    "a > 1",
    "alerting",
    for_seconds=120,
    labels={"severity": "page", "team": "x"},
    annotations={"runbook_url": "https://example.com"},
)
RATIO = 'sum(rate(bad_total{job="x"}[5m])) / sum(rate(all_total[5m])) > 0.1'


def like(name: str, **changes: object) -> WrittenRule:
    from dataclasses import replace

    return replace(GOOD, name=name, **changes)  # type: ignore[arg-type]


def kinds(*rules: WrittenRule) -> set[Kind]:
    return {finding.kind for finding in audit_text(rules)}


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        pytest.param([GOOD], set(), id="in order"),
        pytest.param([like("A", for_seconds=0.0)], {Kind.NO_FOR}, id="no for"),
        pytest.param([like("A", labels={})], {Kind.NO_OWNER}, id="no owner"),
        pytest.param([like("A", annotations={})], {Kind.NO_RUNBOOK}, id="no runbook"),
        pytest.param([like("A", expr=RATIO)], {Kind.UNGATED_RATIO}, id="ungated ratio"),
        pytest.param([like("A", expr=RATIO + " and sum(rate(all_total[5m])) > 1")], set(), id="gated ratio"),
        pytest.param([like("A", expr="free_bytes / size_bytes < 0.1")], set(), id="a ratio of levels"),
        pytest.param(
            [like("A", labels={"team": "x", "now": "{{ $value }}"})],
            {Kind.CHANGING_IDENTITY},
            id="value in a label",
        ),
        pytest.param([like("A", health="err", last_error="x")], {Kind.BROKEN}, id="broken"),
        pytest.param(
            [like("A", evaluation_seconds=5.0, interval_seconds=15.0)], {Kind.EXPENSIVE}, id="expensive"
        ),
        pytest.param([GOOD, like("B", expr="a  >  1")], {Kind.DUPLICATE}, id="duplicate"),
        pytest.param([GOOD, like("B", expr="a > 2")], {Kind.IMPLIED}, id="implied"),
        pytest.param(
            [GOOD, like("B", expr="a > 2", labels={"severity": "critical", "team": "x"})],
            set(),
            id="implied by a milder one is an escalation",
        ),
    ],
)
def test_text(rules: list[WrittenRule], expected: set[Kind]) -> None:
    assert kinds(*rules) == expected


MINUTE = 60_000
WINDOW = Window(0, 28 * 1440 * MINUTE, MINUTE)


def past(name: str, *spans: tuple[int, int]) -> RulePast:
    """Firings from minute to minute, of one series."""
    fired = tuple(Firing(0, start * MINUTE, end * MINUTE, start * MINUTE) for start, end in spans)
    return RulePast(like(name), WINDOW, (LabelSet(),), fired)


def told(*pasts: RulePast) -> set[Kind]:
    return {finding.kind for finding in audit_past(pasts)}


@pytest.mark.parametrize(
    ("pasts", "expected"),
    [
        pytest.param([past("A", (100, 130), (5000, 5060))], set(), id="in order"),
        pytest.param([past("A")], {Kind.NEVER}, id="never"),
        pytest.param([past("A", (0, 39_000))], {Kind.CONSTANT}, id="constantly"),
        pytest.param([past("A", *((n * 20, n * 20 + 10) for n in range(10)))], {Kind.FLAPS}, id="flaps"),
        pytest.param([past("A", *((n * 500, n * 500 + 2) for n in range(10)))], {Kind.BRIEF}, id="brief"),
        pytest.param(
            [past(name, *((n * 500, n * 500 + 60) for n in range(10))) for name in "AB"],
            {Kind.CO_FIRES},
            id="co-fire",
        ),
        pytest.param([RulePast(GOOD, WINDOW, error="nonsense")], {Kind.BROKEN}, id="cannot be asked"),
    ],
)
def test_past(pasts: list[RulePast], expected: set[Kind]) -> None:
    assert told(*pasts) == expected


@pytest.mark.parametrize(
    ("threshold", "far"), [pytest.param(1000, True, id="far"), pytest.param(25, False, id="near")]
)
def test_a_threshold_out_of_reach(threshold: float, far: bool) -> None:
    rule = like("A", expr=f"a > {threshold}")
    values = np.random.default_rng(1).normal(10, 2, (1, 1000))
    finding = far_off(RulePast(rule, WINDOW, (LabelSet(),)), values)
    assert (finding is not None) is far


def test_the_worst_come_first() -> None:
    mild, bad = Finding("a", Kind.NO_RUNBOOK, "", ""), Finding("b", Kind.FLAPS, "", "", 1)
    worse = Finding("c", Kind.FLAPS, "", "", 9)
    assert ranked([mild, bad, worse]) == [worse, bad, mild]
