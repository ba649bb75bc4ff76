"""A group's `limit`: what is beyond it makes an evaluation fail, and every alert of the rule begin anew."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from rules.adapt.judge import judge
from rules.adapt.search import as_it_is
from rules.backtest.firing import firings
from rules.backtest.limit import _Evaluations, limited_firings
from rules.read import of_server, read_text
from sidecar.prometheus.answers import rules_of
from tests.unit.rules.histories import evidence

STEP = 60_000


def spans(rows: list[str], hold: int = 0, keep: int = 0, limit: int = 1) -> list[tuple[int, int, int]]:
    """Row, first step and step after of each firing, of rows such as `.xx.`."""
    active = np.array([[letter == "x" for letter in row] for row in rows])
    found = limited_firings(
        active,
        np.arange(active.shape[1]) * STEP,
        for_seconds=hold * 60,
        keep_firing_seconds=keep * 60,
        limit=limit,
    )
    return [(one.row, one.start_ms // STEP, one.end_ms // STEP) for one in found]


@pytest.mark.parametrize(
    ("rows", "hold", "keep", "limit", "expected"),
    [
        pytest.param(["xxxx", ".x.."], 0, 0, 1, [(0, 0, 1), (0, 2, 4)], id="all alerts are dropped"),
        pytest.param(["xxxx", ".x.."], 0, 0, 2, [(0, 0, 4), (1, 1, 2)], id="as many as the limit may be"),
        pytest.param(["xxxx", ".x.."], 0, 0, 0, [(0, 0, 4), (1, 1, 2)], id="0 is no limit"),
        pytest.param(["xxxxxx", ".x...."], 2, 0, 1, [(0, 4, 6)], id="for begins anew, and pending counts"),
        pytest.param(["x.....", ".x...."], 0, 3, 1, [(0, 0, 1)], id="what is kept counts"),
        pytest.param(["xx....", ".x...."], 0, 2, 1, [(0, 0, 1)], id="what was dropped is not kept"),
        pytest.param(["x..x..", "...x.."], 0, 1, 1, [(0, 0, 2)], id="kept no longer, then dropped"),
    ],
)
def test_beyond_the_limit(
    rows: list[str], hold: int, keep: int, limit: int, expected: list[tuple[int, int, int]]
) -> None:
    assert spans(rows, hold, keep, limit) == expected


@settings(max_examples=50)
@given(arrays(np.bool_, (3, 20)), st.integers(0, 4), st.integers(0, 4))
def test_a_limit_that_is_not_reached_changes_nothing(active: np.ndarray, hold: int, keep: int) -> None:
    """A fourth row that is active only before the others makes the evaluations be stepped through."""
    first = np.zeros((4, 5), dtype=np.bool_)
    first[3, 0] = True
    active = np.hstack([first, np.vstack([active, np.zeros((1, 20), dtype=np.bool_)])])
    seconds = {"for_seconds": hold * 60.0, "keep_firing_seconds": keep * 60.0}
    times = np.arange(active.shape[1], dtype=np.int64) * STEP
    assert limited_firings(active, times, limit=3, **seconds) == firings(active, times, **seconds)


def test_the_limit_of_a_group_is_read_from_a_file_and_from_a_server() -> None:
    text = "groups: [{name: g, limit: 3, rules: [{alert: A, expr: up < 1}]}, {name: h, rules: []}]"
    told = {"name": "g", "limit": 3, "rules": [{"name": "A", "query": "up < 1", "type": "alerting"}]}
    loaded = rules_of(json.dumps({"groups": [told]}).encode())
    assert [rule.limit for rule in (*read_text(text), *of_server(loaded))] == [3, 3]


@settings(max_examples=50)
@given(arrays(np.bool_, (3, 30)), st.integers(0, 4), st.integers(0, 2))
def test_without_keeping_it_is_as_stepped_through(active: np.ndarray, hold: int, limit: int) -> None:
    times = np.arange(active.shape[1], dtype=np.int64) * STEP
    quick = limited_firings(active, times, for_seconds=hold * 60.0, keep_firing_seconds=0.0, limit=limit + 1)
    assert quick == _Evaluations(active, times, hold * STEP, 0).run(limit + 1)


@pytest.mark.parametrize(("limit", "n_firings"), [(0, 50), (2, 10)], ids=["no limit", "of two"])
def test_a_rewrite_is_judged_by_what_the_limit_lets_through(limit: int, n_firings: int) -> None:
    """Each day one series is beyond the number for ten minutes; on every other day all four are."""
    values = np.full((4, 20 * 1440), 1.0)
    for day in range(20):
        values[: 4 if day % 2 else 1, day * 1440 : day * 1440 + 10] = 9.0
    known = evidence(values, "load > 5")
    known = replace(known, rule=replace(known.rule, group_options={"limit": limit} if limit else {}))
    assert judge(as_it_is(known), known).n_firings == n_firings
