"""Thresholds follow the week with as few numbers as do it justice."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from rules.learn import MAX_SEGMENTS, learn
from sidecar.errors import RuleError
from tests.unit.rules.bands import CONFIG, QUERY, band, hours

ONE = [{"service": "cdn"}]


@pytest.mark.parametrize(("kind", "period"), [("flat", 1), ("daily", 24), ("weekly", 168)])
def test_the_period_is_the_shortest_that_serves(kind: str, period: int) -> None:
    (threshold,) = learn(band(hours(kind)[None, :], 1.0, ONE), QUERY, CONFIG).above
    assert threshold.period == period
    # Loose by no more than the tolerance, and never tighter than learnt.
    bound = np.array(threshold.by_hour())
    assert (bound >= hours(kind) + 1.0 - 1e-9).all()
    assert (bound <= hours(kind) + 1.0 + 3.0).all()
    assert len(threshold.segments) <= MAX_SEGMENTS


@settings(max_examples=100, deadline=None)
@example(np.full(168, 1e-6), 250_000.0)
@given(
    arrays.arrays(np.float64, 168, elements=st.floats(-1e6, 1e6)),
    st.floats(1e-6, 1e6),
)
def test_no_bound_is_tighter_than_learnt(centre: np.ndarray, half_width: float) -> None:
    thresholds = learn(
        band(centre[None, :], half_width, ONE), QUERY.model_copy(update={"direction": "both"}), CONFIG
    )
    (above,) = thresholds.above
    # What rounding to short numbers takes for floating-point noise is a share of the half-width.
    slack = 1e-9 * (np.abs(centre).max() + half_width) + 1e-12
    assert (np.array(above.by_hour()) >= centre + half_width - slack).all()
    for below in thresholds.below:
        assert (np.array(below.by_hour()) <= centre - half_width + slack).all()


def test_hours_never_seen_take_the_loosest_bound() -> None:
    centre = hours("daily").copy()
    centre[100:] = np.nan
    (threshold,) = learn(band(centre[None, :], 1.0, ONE), QUERY, CONFIG).above
    assert max(threshold.by_hour()[100:]) >= np.nanmax(centre) + 1.0


def test_thin_evidence_proposes_nothing() -> None:
    with pytest.raises(RuleError, match=r"30m of samples at most, 1h are needed") as caught:
        learn(band(hours("flat")[None, :], 1.0, ONE, n_samples=30), QUERY, CONFIG)
    assert caught.value.reason == "thin_evidence"


def test_too_many_series_are_left_out_and_told() -> None:
    config = CONFIG.model_copy(update={"max_series_per_rule": 2})
    learned = band(np.tile(hours("flat"), (5, 1)), 1.0, [{"i": str(i)} for i in range(5)])
    thresholds = learn(learned, QUERY, config)
    assert len(thresholds.above) == 2
    assert thresholds.left_out == {"more than 2 series": 3}


@pytest.mark.parametrize(
    ("labels", "direction", "words"),
    [
        pytest.param([{"query": "a"}], "above", "label 'query'", id="our own label"),
        pytest.param([{"__name__": "a"}, {"__name__": "b"}], "above", "equal labels", id="two metrics"),
        pytest.param([{"i": "1"}], "below", "below a lower bound of 0", id="nothing below"),
    ],
)
def test_what_allows_no_rule_says_why(labels: list[dict[str, str]], direction: str, words: str) -> None:
    learned = band(np.full((len(labels), 168), 0.5), 0.5, labels)
    with pytest.raises(RuleError, match=words) as caught:
        learn(learned, QUERY.model_copy(update={"direction": direction}), CONFIG)
    assert caught.value.reason == "not_applicable"


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_series_whose_band_is_no_number_is_left_out(bad: float) -> None:
    learned = band(np.tile(hours("flat"), (2, 1)), 1.0, [{"i": "0"}, {"i": "1"}])
    learned.upper[1] = bad
    thresholds = learn(learned, QUERY, CONFIG)
    assert [threshold.labels["i"] for threshold in thresholds.above] == ["0"]


def test_a_lower_bound_of_zero_makes_no_rule() -> None:
    query = QUERY.model_copy(update={"direction": "both"})
    thresholds = learn(band(np.full((1, 168), 0.5), 0.5, ONE), query, CONFIG)
    assert thresholds.below == ()


def test_small_changes_are_alike_and_large_ones_are_not() -> None:
    first = learn(band(hours("daily")[None, :], 1.0, ONE), QUERY, CONFIG)
    near = learn(band(hours("daily")[None, :] + 0.1, 1.0, ONE), QUERY, CONFIG)
    far = learn(band(hours("daily")[None, :] + 1.0, 1.0, ONE), QUERY, CONFIG)
    other = learn(band(hours("daily")[None, :], 1.0, [{"service": "x"}]), QUERY, CONFIG)
    assert near.like(first.bounds())
    assert not far.like(first.bounds())
    assert not other.like(first.bounds())
    assert not first.like(None)
