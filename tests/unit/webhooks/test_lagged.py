"""Which metric moves before which, and that unrelated ones do not."""

from __future__ import annotations

import numpy as np
import pytest

from sidecar.series import FloatArray
from webhooks.judge.lagged import CERTAIN, chances, leads, sampled_every

N_STEPS = 240


def noise(n_rows: int, seed: int) -> FloatArray:
    return np.random.default_rng(seed).normal(size=(n_rows, N_STEPS)).cumsum(axis=1)


def incident(*delays: int, seed: int = 1, size: float = 30.0) -> FloatArray:
    """Random walks that all climb over some steps, each so many steps after the first."""
    values = noise(len(delays), seed)
    for row, delay in enumerate(delays):
        values[row, 180 + delay :] += size
        values[row, 182 + delay :] += size
    return values


def test_the_one_that_moves_first_leads() -> None:
    found = leads(incident(0, 3))
    assert [(lead.leader, lead.follower, lead.lag_steps) for lead in found] == [(0, 1, 3)]
    assert found[0].chance < CERTAIN


def test_a_scale_and_a_direction_do_not_matter() -> None:
    values = incident(0, 3) * np.array([[1e6], [-1e-6]])
    assert [(lead.leader, lead.follower) for lead in leads(values)] == [(0, 1)]


@pytest.mark.parametrize("delay", [0, 1], ids=["at once", "within the time of a scrape"])
def test_what_moves_together_leads_nobody(delay: int) -> None:
    assert leads(incident(0, delay)) == []


def test_a_chain_is_led_from_its_beginning() -> None:
    pairs = {(lead.leader, lead.follower) for lead in leads(incident(0, 2, 4))}
    assert {(0, 1), (1, 2)} <= pairs
    assert not {(1, 0), (2, 1), (2, 0)} & pairs


def test_unrelated_series_lead_as_seldom_as_said() -> None:
    n_false = sum(bool(leads(noise(4, seed))) for seed in range(200))
    assert n_false <= 2, "one in a thousand is expected"


@pytest.mark.parametrize(
    "values",
    [
        pytest.param(np.zeros((2, N_STEPS)), id="flat"),
        pytest.param(np.full((2, N_STEPS), np.nan), id="nothing"),
        pytest.param(noise(2, 3)[:, :30], id="short"),
        pytest.param(noise(1, 3), id="alone"),
    ],
)
def test_what_says_nothing_leads_nobody(values: FloatArray) -> None:
    assert leads(values) == []


def test_gaps_do_no_harm() -> None:
    values = incident(0, 3)
    values[:, 50:60] = np.nan
    values[1, :5] = np.nan
    assert [(lead.leader, lead.follower) for lead in leads(values)] == [(0, 1)]


def test_it_is_the_test_of_statsmodels() -> None:
    from statsmodels.tsa.stattools import grangercausalitytests

    values = np.random.default_rng(5).normal(size=(2, 200))
    values[1, 2:] += 0.3 * values[0, :-2]
    ours = chances(values, nearest=1, lags=3)
    for leader, follower in ((0, 1), (1, 0)):
        theirs = grangercausalitytests(values[[follower, leader]].T, [3])[3][0]["ssr_ftest"][1]
        assert ours[leader, follower] == pytest.approx(theirs, rel=1e-6)


def test_how_often_a_value_is_scraped_shows_in_the_values() -> None:
    slow, fast = np.repeat(noise(1, 1)[:, :60], 4, axis=1), noise(1, 2)
    assert sampled_every(np.vstack([slow, fast])) == 4
    assert sampled_every(fast) == 1
