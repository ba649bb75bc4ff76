"""Incident risk: silent where too little is known or gained, calibrated where something comes first."""

from __future__ import annotations

import numpy as np
import pytest

from sidecar.engine.risk import NO_BETTER, TOO_FEW, WINDOWS, Learnt, Trial, learn
from sidecar.engine.risk_features import (
    DAY,
    FEATURES,
    HOUR,
    OF_ALERTS,
    Everywhere,
    ServicePast,
    everywhere,
    features,
)

BEGIN = 1_790_000_000.0
NOW = BEGIN + 120 * DAY
NOTHING = np.empty(0)


def past(name: str, seed: int, *, n_incidents: int = 40, heralded: bool = True) -> ServicePast:
    """Incidents at random times; alerts at random times and, where heralded, in the two hours before."""
    rng = np.random.default_rng(seed)
    incidents = np.sort(rng.uniform(BEGIN, NOW, n_incidents))
    noise = rng.uniform(BEGIN, NOW, 150)
    heralds = (incidents[:, None] - rng.uniform(0.1, 2.0, (n_incidents, 3)) * HOUR).ravel()
    alerts = np.concatenate([noise, heralds if heralded else []])
    return ServicePast(name, np.sort(alerts), incidents)


def signalled(name: str, seed: int, kind: str) -> ServicePast:
    """Incidents that no alert heralds, but each a signal of that kind about two hours before."""
    quiet = past(name, seed, heralded=False)
    rng = np.random.default_rng(seed + 100)
    heralds = quiet.incidents - rng.uniform(1.5, 2.5, len(quiet.incidents)) * HOUR
    times = np.sort(np.concatenate([heralds, rng.uniform(BEGIN, NOW, 30)]))
    strength = {"anomalies": "scores", "ahead": "etas"}.get(kind)
    return ServicePast(
        name,
        quiet.alerts,
        quiet.incidents,
        **{kind: times},
        **({strength: np.full(len(times), 2000.0)} if strength else {}),
    )


def trial_of(found: Learnt, window: str) -> Trial:
    return next(trial for trial in found.trials if trial.window == window)


def test_alerts_that_come_first_make_a_risk_that_is_better_than_the_base_rate() -> None:
    quiet, loud = past("quiet", 1), past("loud", 2)
    loud = ServicePast(
        "loud", np.sort(np.append(loud.alerts, NOW - np.array([60, 300, 900]))), loud.incidents
    )
    found = learn([quiet, loud], begin=BEGIN, now=NOW)
    assert not found.silent
    four_hours = trial_of(found, "4h")
    assert four_hours.brier < 0.9 * four_hours.base_brier
    for said, came, n in four_hours.calibration:
        assert abs(said - came) < 0.1 + 2 * np.sqrt(0.25 / n)
    risks = {risk.service: risk for risk in found.predict([quiet, loud], NOW) if risk.window == "4h"}
    assert risks["loud"].probability > 3 * risks["quiet"].probability
    assert any("alerts in" in name and share > 0 for name, share in risks["loud"].reasons)


@pytest.mark.parametrize("kind", ["anomalies", "changes", "ahead"])
def test_a_signal_that_comes_first_makes_a_risk_and_is_its_reason(kind: str) -> None:
    pasts = [signalled("a", 7, kind), signalled("b", 8, kind)]
    without = learn(pasts, begin=BEGIN, now=NOW)
    assert without.reason == NO_BETTER
    found = learn(pasts, begin=BEGIN, now=NOW, signals_begin=BEGIN)
    assert found.with_signals
    assert trial_of(found, "4h").useful
    assert trial_of(found, "30m-3h").brier < 0.95 * trial_of(found, "30m-3h").base_brier
    moment = float(getattr(pasts[0], kind)[-1])
    (worst, *_) = [risk for risk in found.predict(pasts, moment) if risk.window == "4h"]
    assert worst.service == "a"
    assert worst.reasons[0][0] in FEATURES[len(OF_ALERTS) :]


def test_lead_times_lie_within_the_window_and_only_of_incidents_that_were_not_learnt_from() -> None:
    pasts = [past("a", 1), past("b", 2)]
    found = learn(pasts, begin=BEGIN, now=NOW)
    for trial in found.trials:
        first, end = WINDOWS[trial.window]
        assert all(first < lead <= end for lead in trial.leads_seconds)
        assert trial.n_warned <= trial.n_incidents < 0.35 * 80
    four_hours = trial_of(found, "4h")
    assert four_hours.n_warned > 0.5 * four_hours.n_incidents
    assert four_hours.precision is not None
    assert four_hours.precision > 0.35


@pytest.mark.parametrize(
    ("pasts", "reason", "words"),
    [
        pytest.param([past("a", 1, n_incidents=9)], TOO_FEW, "incidents to learn from", id="too few"),
        pytest.param([], TOO_FEW, "0 incidents to learn from", id="none at all"),
        pytest.param(
            [past("a", 3, heralded=False), past("b", 4, heralded=False)],
            NO_BETTER,
            "no better than",
            id="no pattern",
        ),
    ],
)
def test_without_evidence_nothing_is_predicted_and_it_is_said_why(
    pasts: list[ServicePast], reason: str, words: str
) -> None:
    found = learn(pasts, begin=BEGIN, now=NOW)
    assert found.reason == reason
    assert words in found.silent
    assert found.predict(pasts, NOW) == ()


def test_signals_recorded_for_too_short_a_time_stay_out() -> None:
    pasts = [past("a", 1), past("b", 2)]
    found = learn(pasts, begin=BEGIN, now=NOW, signals_begin=NOW - 5 * DAY)
    assert not found.silent
    assert not found.with_signals


def test_nothing_that_starts_later_is_known() -> None:
    one = signalled("a", 5, "anomalies")
    moment = np.array([BEGIN + 60 * DAY])
    before = one.anomalies <= moment
    until = ServicePast(
        "a",
        one.alerts[one.alerts <= moment],
        one.incidents[one.incidents <= moment],
        one.anomalies[before],
        one.scores[before],
    )
    whole = features(one, everywhere([one]), moment)
    np.testing.assert_array_equal(whole, features(until, everywhere([until]), moment))
    assert whole.shape == (1, len(FEATURES))
    new = ServicePast("new", NOTHING, NOTHING)
    assert np.isfinite(features(new, Everywhere(NOTHING, NOTHING), moment)).all()


def test_the_strongest_anomaly_of_the_last_hour_is_known() -> None:
    times = BEGIN + np.array([0.0, 0.5, 0.9, 5.0]) * HOUR
    one = ServicePast("a", NOTHING, NOTHING, times, np.array([9.0, 2.0, 3.0, 4.0]))
    moments = BEGIN + np.array([-1.0, 0.95, 1.2, 3.0, 5.5]) * HOUR
    column = FEATURES.index("strongest anomaly in 1 h")
    found = np.expm1(features(one, everywhere([one]), moments)[:, column])
    np.testing.assert_allclose(found, [0.0, 9.0, 3.0, 0.0, 4.0])
