"""How much better than their base rate incidents are predicted, on a made-up fleet, and at what cost."""

from __future__ import annotations

import time

import numpy as np

from sidecar.engine.risk import Trial, learn
from sidecar.engine.risk_features import DAY, HOUR, ServicePast
from sidecar.series import FloatArray
from tests.benchmarks.table import Row, show

BEGIN = 1_790_000_000.0
BUDGET_LEARN_SECONDS = 5.0
BUDGET_OFF = 0.05


def service(name: str, rng: np.random.Generator, days: float) -> ServicePast:
    """Incidents about every ten days; six in ten after anomalies, two in ten after a deployment.

    Anomalies and deployments come without incidents as well: two and one a day. Each incident has
    alerts of its own, from its start on; an alert in two days means nothing.
    """
    end = BEGIN + days * DAY

    def at_random(per_day: float) -> FloatArray:
        return rng.uniform(BEGIN, end, rng.poisson(per_day * days))

    incidents = np.sort(at_random(0.1))
    kind = rng.random(len(incidents))
    anomalous, deployed = incidents[kind < 0.6], incidents[(kind >= 0.6) & (kind < 0.8)]
    heralds = (anomalous[:, None] - rng.uniform(0.3, 2.5, (len(anomalous), 3)) * HOUR).ravel()
    anomalies = np.concatenate([at_random(2.0), heralds])
    scores = np.concatenate(
        [1.0 + rng.exponential(0.5, len(anomalies) - len(heralds)), 1.0 + rng.exponential(2.0, len(heralds))]
    )
    order = np.argsort(anomalies)
    alerts = np.concatenate([at_random(0.5), (incidents[:, None] + np.array([0.0, 60.0, 300.0])).ravel()])
    changes = np.concatenate([at_random(1.0), deployed - rng.uniform(0.1, 1.5, len(deployed)) * HOUR])
    return ServicePast(name, np.sort(alerts), incidents, anomalies[order], scores[order], np.sort(changes))


def _row(trial: Trial) -> Row:
    off = max(abs(said - came) for said, came, _ in trial.calibration)
    words = f"Brier {trial.brier:.4f}, off by {off:.1%} at most" + ("" if trial.useful else ", not told")
    if trial.leads_seconds and trial.precision is not None:
        words += (
            f"; {trial.n_warned} of {trial.n_incidents} warned of, {trial.precision:.0%} true, "
            f"{np.median(trial.leads_seconds) / 60:.0f} min ahead"
        )
    return Row(
        f"incident within {trial.window}",
        words,
        f"{trial.base_brier:.4f} (base rate)",
        trial.base_brier / trial.brier,
        f"no worse, ≤ {BUDGET_OFF:.0%} off",
        trial.brier <= trial.base_brier and off <= BUDGET_OFF,
    )


def run(quick: bool = False) -> list[Row]:
    """The trial on the later part of a year of twenty services; a third of that if quick."""
    rng = np.random.default_rng(11)
    n_services, days = (7, 180.0) if quick else (20, 365.0)
    pasts = [service(f"s{n}", rng, days) for n in range(n_services)]
    now = BEGIN + days * DAY
    began = time.process_time()
    learnt = learn(pasts, begin=BEGIN, now=now, signals_begin=BEGIN)
    seconds = time.process_time() - began
    rows = [_row(trial) for trial in learnt.trials]
    rows.append(
        Row(
            f"learning, {n_services} services, {days:.0f} days",
            f"{seconds:.1f} s of a core, each six hours",
            "",
            None,
            f"≤ {BUDGET_LEARN_SECONDS:.0f} s",
            seconds <= BUDGET_LEARN_SECONDS,
        )
    )
    return rows


if __name__ == "__main__":
    show("incident risk", run())
