"""Error budgets: what is spent, what rolls out of the window, and when the rest is gone."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from sidecar.config.known import EventConfig
from sidecar.engine.forecast.budget import budget_crossing, spent_now
from sidecar.engine.forecast.eta import Crossing
from sidecar.engine.known_history import KnownSeries
from sidecar.errors import ModelError
from sidecar.series import FloatArray, LabelSet

HOUR = 3600.0
WINDOW = 30 * 24
TIMES = (np.arange(WINDOW, dtype=np.int64) + 480_000) * 3_600_000
TOTAL = np.full(WINDOW, 100.0) + np.random.default_rng(0).normal(0, 1, WINDOW)


def ask(
    errors: FloatArray,
    total: FloatArray = TOTAL,
    *events: EventConfig,
) -> Crossing:
    return budget_crossing(
        TIMES,
        errors,
        total,
        objective=0.999,
        step_seconds=HOUR,
        window_steps=WINDOW,
        horizon_steps=7 * 24,
        known_errors=KnownSeries(LabelSet(), events),
        known_traffic=KnownSeries(LabelSet(), events),
    )


def event(begins_in_hours: float, hours: float, **facts: Any) -> EventConfig:
    """An event that begins so long after the newest sample."""
    start = datetime.fromtimestamp(TIMES[-1] / 1000 + begins_in_hours * HOUR, UTC)
    return EventConfig(name="e", start=start, duration=hours * HOUR, **facts)


def burning(hours: int, burn: float) -> FloatArray:
    """Errors at a tenth of what the objective allows, and for so many hours at `burn` times as much."""
    noise = np.random.default_rng(1).normal(1.0, 0.05, WINDOW)
    errors = 0.1 * 0.001 * TOTAL * noise
    errors[WINDOW - hours :] *= 10.0 * burn
    return np.asarray(errors)


def test_a_fast_burn_is_told_when_it_ends() -> None:
    # A day at ten times the allowed rate is a third of a month's budget, beside a tenth.
    errors = burning(24, 10.0)
    assert spent_now(errors, TOTAL, 0.999, WINDOW) == pytest.approx(0.097 + 10 / 30, abs=0.02)
    # What is left, 0.57 of the budget, lasts about 41 hours.
    assert ask(errors).eta_seconds(0.5) == pytest.approx(41 * HOUR, rel=0.25)


@pytest.mark.parametrize(
    "errors",
    [
        pytest.param(burning(0, 1.0), id="well within"),
        pytest.param(np.zeros(WINDOW), id="no error at all"),
        pytest.param(burning(24, 10.0)[::-1].copy(), id="long ago: it rolls out of the window"),
    ],
)
def test_a_budget_that_lasts_has_no_end(errors: FloatArray) -> None:
    assert ask(errors).eta_seconds(0.5) == math.inf


def test_a_budget_that_is_spent_has_no_time_left() -> None:
    assert ask(burning(24 * 10, 10.0)).eta_seconds(0.9) == 0.0


def test_without_any_sample_nothing_can_be_said() -> None:
    with pytest.raises(ModelError):
        ask(np.zeros(WINDOW), np.full(WINDOW, np.nan))


def test_a_release_that_is_to_come_spends_the_budget_sooner() -> None:
    # What is left lasts 41 hours; three times as much from the tenth hour on spends it in 10 + 31 / 3.
    errors = burning(24, 10.0)
    release = event(10.0, 48.0, uplift=3.0)
    assert ask(errors, TOTAL, release).eta_seconds(0.5) == pytest.approx(20.5 * HOUR, rel=0.2)
    assert ask(errors, TOTAL, event(100.0, 48.0, uplift=3.0)).eta_seconds(0.5) == pytest.approx(
        ask(errors).eta_seconds(0.5), rel=0.05
    )


def test_half_an_hour_of_an_event_counts_by_half() -> None:
    errors = burning(24, 10.0)
    # Twenty times as much for half an hour is as ten times for one, and as ten hours without.
    sooner = ask(errors).eta_seconds(0.5) - ask(errors, TOTAL, event(5.25, 0.5, uplift=20.0)).eta_seconds(0.5)
    assert sooner == pytest.approx(9.5 * HOUR, rel=0.25)


def test_what_an_event_cost_that_is_over_does_not_go_on() -> None:
    errors = burning(24, 10.0)
    errors[:-24] *= 3.0
    migration = event(-24.0, 24.0, kind="migration")
    assert ask(errors, TOTAL, migration).eta_seconds(0.5) == math.inf
    # But the next one costs as much: 37 of a hundred parts are left, a day takes 33.
    planned = event(24.0, 72.0, kind="migration")
    assert ask(errors, TOTAL, migration, planned).eta_seconds(0.5) == pytest.approx(51 * HOUR, rel=0.2)
