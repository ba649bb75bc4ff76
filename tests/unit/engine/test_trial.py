"""Champion and challenger are compared on the same points, each by its own words."""

from __future__ import annotations

import json

import numpy as np
import pytest

from sidecar.engine.registry_models import verdict
from sidecar.engine.trial import LEAST_CHANGES, LEAST_SERIES, LiveContest, Said, share_of
from sidecar.series import FloatArray, LabelSet

N, STEPS = 30, 100


def said(yhat: FloatArray, score: float = 0.5) -> Said:
    return Said(yhat, yhat - 3, yhat + 3, np.full(len(yhat), score))


def contest(champion_off: float, challenger_off: float, steps: int = STEPS) -> LiveContest:
    rng = np.random.default_rng(1)
    found = LiveContest()
    found.resize(N)
    for _ in range(steps):
        actual = rng.normal(50, 1, N)
        centre = np.full(N, 50.0)
        found.observe(actual, said(centre + champion_off, 2.0), said(centre + challenger_off))
    return found


def test_the_one_that_expects_better_is_better() -> None:
    found = contest(champion_off=3.0, challenger_off=0.0)
    standings = found.standings()
    assert found.n_points == N * (STEPS - LEAST_CHANGES)
    assert standings["champion"].flagged == found.n_points
    assert standings["challenger"].flagged == 0
    assert standings["champion"].mean_error > 2 * standings["challenger"].mean_error
    assert standings["champion"].outside > 0.4 > 0.05 > standings["challenger"].outside
    assert verdict(standings)[0]
    assert not verdict(contest(0.0, 3.0).standings())[0]


def test_few_points_decide_nothing() -> None:
    better, words = verdict(contest(3.0, 0.0, steps=LEAST_CHANGES + 10).standings())
    assert (better, "are needed" in words) == (False, True)


def test_what_one_of_them_cannot_judge_counts_for_neither() -> None:
    found = contest(0.0, 0.0)
    before = found.n_points
    actual, centre = np.full(N, 50.0), np.full(N, 50.0)
    found.observe(actual, said(centre, np.nan), said(centre))
    found.observe(np.full(N, np.nan), said(centre), said(centre))
    assert found.n_points == before


def test_standings_outlive_a_restart() -> None:
    one, two = contest(3.0, 1.0), LiveContest()
    two.recall(json.loads(json.dumps(one.kept())))
    assert two.standings() == one.standings()
    with pytest.raises((KeyError, TypeError, ValueError)):
        two.recall({"n_points": 3})


def test_a_share_of_series_is_the_same_whatever_their_order() -> None:
    labels = tuple(LabelSet({"pod": f"p{i}"}) for i in range(1000))
    chosen = {labels[row] for row in share_of(labels, 0.1)}
    turned = labels[::-1]
    assert len(chosen) == 100
    assert {turned[row] for row in share_of(turned, 0.1)} == chosen
    assert len(share_of(labels[:300], 0.001)) == LEAST_SERIES
    assert share_of(labels[:3], 0.1).tolist() == [0, 1, 2]
