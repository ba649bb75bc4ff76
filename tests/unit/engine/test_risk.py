"""Incident risk: silent where too little is known or gained, calibrated where alerts come first."""

from __future__ import annotations

import numpy as np
import pytest

from sidecar.engine.risk import DAY, FEATURES, HOUR, ServicePast, assess, features

BEGIN = 1_790_000_000.0
NOW = BEGIN + 120 * DAY


def past(name: str, seed: int, *, n_incidents: int = 40, heralded: bool = True) -> ServicePast:
    """Incidents at random times; alerts at random times and, where heralded, in the two hours before."""
    rng = np.random.default_rng(seed)
    incidents = np.sort(rng.uniform(BEGIN, NOW, n_incidents))
    noise = rng.uniform(BEGIN, NOW, 150)
    heralds = (incidents[:, None] - rng.uniform(0.1, 2.0, (n_incidents, 3)) * HOUR).ravel()
    alerts = np.concatenate([noise, heralds if heralded else []])
    return ServicePast(name, np.sort(alerts), incidents)


def test_alerts_that_come_first_make_a_risk_that_is_better_than_the_base_rate() -> None:
    quiet, loud = past("quiet", 1), past("loud", 2)
    loud = ServicePast(
        "loud", np.sort(np.append(loud.alerts, NOW - np.array([60, 300, 900]))), loud.incidents
    )
    found = assess([quiet, loud], begin=BEGIN, now=NOW)
    assert not found.silent
    four_hours = next(trial for trial in found.trials if trial.window == "4h")
    assert four_hours.brier < 0.9 * four_hours.base_brier
    for said, came, n in four_hours.calibration:
        assert abs(said - came) < 0.1 + 2 * np.sqrt(0.25 / n)
    by_service = {risk.service: risk for risk in found.risks if risk.window == "4h"}
    assert by_service["loud"].probability > 3 * by_service["quiet"].probability
    assert any("alerts in" in name and share > 0 for name, share in by_service["loud"].reasons)


@pytest.mark.parametrize(
    ("pasts", "why"),
    [
        pytest.param([past("a", 1, n_incidents=9)], "incidents to learn from", id="too few"),
        pytest.param([], "0 incidents to learn from", id="none at all"),
        pytest.param(
            [past("a", 3, heralded=False), past("b", 4, heralded=False)], "no better than", id="no pattern"
        ),
    ],
)
def test_without_evidence_nothing_is_predicted_and_it_is_said_why(pasts: list[ServicePast], why: str) -> None:
    found = assess(pasts, begin=BEGIN, now=NOW)
    assert why in found.silent
    assert found.risks == ()


def test_nothing_that_starts_later_is_known() -> None:
    one = past("a", 5)
    moment = np.array([BEGIN + 60 * DAY])
    until = ServicePast("a", one.alerts[one.alerts <= moment], one.incidents[one.incidents <= moment])
    whole = features(one, one.alerts, moment)
    np.testing.assert_array_equal(whole, features(until, until.alerts, moment))
    assert whole.shape == (1, len(FEATURES))
    assert np.isfinite(features(ServicePast("new", np.empty(0), np.empty(0)), np.empty(0), moment)).all()
