"""Many counters reset at once are told once, and not where restarts were expected."""

from __future__ import annotations

import numpy as np
import promql_parser
import pytest

from sidecar.loop.resets import ResetStorms, Storm, resets_expr
from sidecar.series import LabelSet, SeriesBatch


def answer(n_resets: float, n_counters: float | None) -> SeriesBatch:
    labels = (LabelSet({"of": "reset"}), LabelSet({"of": "all"}))
    values = [[n_resets], [n_counters]] if n_counters is not None else [[n_resets]]
    return SeriesBatch("r", labels[: len(values)], np.array([0]), np.array(values, dtype=np.float64))


@pytest.mark.parametrize(
    ("n_resets", "n_counters", "storm"),
    [
        pytest.param(30, 100, True, id="three in ten"),
        pytest.param(29, 100, False, id="fewer"),
        pytest.param(2, 2, False, id="two are no storm"),
        pytest.param(3, 3, True, id="three of three"),
        pytest.param(0, None, False, id="no counters"),
    ],
)
def test_what_a_storm_is(n_resets: int, n_counters: int | None, storm: bool) -> None:
    found = ResetStorms().observe(answer(n_resets, n_counters), expected=False)
    assert found == (Storm(n_resets, n_counters or 0) if storm else None)


def test_a_storm_is_told_once_and_a_later_one_again() -> None:
    storms = ResetStorms()
    told = [storms.observe(answer(n, 100), expected=False) is not None for n in (0, 50, 60, 0, 50)]
    assert told == [False, True, False, False, True]


def test_what_a_deploy_resets_is_no_news_when_the_deploy_is_over() -> None:
    storms = ResetStorms()
    assert storms.observe(answer(50, 100), expected=True) is None
    assert storms.observe(answer(50, 100), expected=False) is None


def test_the_question_is_promql() -> None:
    expr = resets_expr('http_requests_total{job="api"}', 15.0)
    promql_parser.parse(expr)
    assert "[2m]" in expr
    assert "[10m]" in resets_expr("up", 300.0)
