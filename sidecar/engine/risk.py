"""How likely an incident starts on a service soon, learnt from past incidents, alerts and signals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import numpy as np

from sidecar.engine.risk_features import DAY, FEATURES, HOUR, OF_ALERTS, ServicePast, everywhere, features
from sidecar.series import BoolArray, FloatArray

WINDOWS: Mapping[str, tuple[float, float]] = {
    "30m-3h": (0.5 * HOUR, 3 * HOUR),
    "4h": (0.0, 4 * HOUR),
    "24h": (0.0, DAY),
}
"""From when to when ahead an incident counts, in seconds."""

EVERY_SECONDS = 0.5 * HOUR
LEARNT_SHARE = 0.7
MIN_LEARNT, MIN_TRIED = 30, 10
"""So many incidents must lie in the part that is learnt from, and in the later part that is tried on."""
MAX_MOMENTS = 100_000
MUST_GAIN = 0.02
BINS = 6
WARN_PRECISION = 0.5
"""A warning counts from the probability on at which at least so many came true in what was learnt from."""

TOO_FEW, NO_BETTER = "too_few_incidents", "no_better_than_base_rate"
"""Why nothing is predicted."""


@dataclass(frozen=True)
class Trial:
    """How predictions of one window did on the later part: Brier scores, less is better.

    `calibration`: mean prediction, share that came true and number, of groups in each of which as many
    incidents were expected.
    `warn_at`: the probability from which on a warning is worth it, None where none is; with it
    `n_warned` of `n_incidents` had one, so long ahead (`leads_seconds`), and `precision` of them were right.
    """

    window: str
    brier: float
    base_brier: float
    base_rate: float
    calibration: tuple[tuple[float, float, int], ...]
    warn_at: float | None = None
    precision: float | None = None
    n_incidents: int = 0
    leads_seconds: tuple[float, ...] = ()

    @property
    def useful(self) -> bool:
        """Whether it says more than how often incidents happen."""
        return self.brier < (1.0 - MUST_GAIN) * self.base_brier

    @property
    def n_warned(self) -> int:
        """Incidents that were warned of."""
        return len(self.leads_seconds)


@dataclass(frozen=True)
class Risk:
    """One service now: probability and what it comes from (log odds beside the usual), largest first."""

    service: str
    window: str
    probability: float
    reasons: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class Learnt:
    """What was learnt: how each window did, and a model of each that was useful.

    `reason` (`TOO_FEW`, `NO_BETTER`) and `silent` (the same in words) say why nothing is predicted; empty
    where something is. `with_signals`: whether anomalies, changes and thresholds ahead enter; they do once
    enough incidents happened since they are recorded.
    """

    reason: str = ""
    silent: str = ""
    with_signals: bool = False
    trials: tuple[Trial, ...] = ()
    models: Mapping[str, Any] = field(default_factory=dict)

    def predict(self, pasts: Sequence[ServicePast], now: float) -> tuple[Risk, ...]:
        """The risk of each service at `now` (seconds), the highest first."""
        if not self.models or not pasts:
            return ()
        x = _known_at(pasts, np.array([now]), with_signals=self.with_signals)
        risks = [risk for window, model in self.models.items() for risk in _told(window, model, pasts, x)]
        return tuple(sorted(risks, key=lambda risk: -risk.probability))


def learn(
    pasts: Sequence[ServicePast], *, begin: float, now: float, signals_begin: float | None = None
) -> Learnt:
    """Learn from the earlier part of `begin`..`now` (seconds), try on the later.

    `signals_begin`: since when anomalies, changes and thresholds ahead are recorded; None: they are not.
    A window whose predictions are no better than the base rate is tried, but not predicted.
    """
    if signals_begin is not None and signals_begin > begin:
        recent = _learnt(pasts, signals_begin, now, with_signals=True)
        if recent.reason != TOO_FEW:
            return recent
    known = signals_begin is not None and signals_begin <= begin
    return _learnt(pasts, begin, now, with_signals=known)


def _learnt(pasts: Sequence[ServicePast], begin: float, now: float, *, with_signals: bool) -> Learnt:
    split = begin + LEARNT_SHARE * (now - begin)
    learnt = sum(int(((past.incidents >= begin) & (past.incidents < split)).sum()) for past in pasts)
    tried = sum(int((past.incidents >= split).sum()) for past in pasts)
    if learnt < MIN_LEARNT or tried < MIN_TRIED:
        return Learnt(
            TOO_FEW,
            f"{learnt} incidents to learn from and {tried} to try on; "
            f"{MIN_LEARNT} and {MIN_TRIED} are needed",
        )
    step = max(EVERY_SECONDS, (now - begin) * len(pasts) / MAX_MOMENTS)
    moments = np.arange(begin + DAY, now, step)
    x = _known_at(pasts, moments, with_signals=with_signals)
    when = np.tile(moments, len(pasts))
    trials, models = [], {}
    for window, (first, end) in WINDOWS.items():
        y = np.concatenate([_starts_within(past.incidents, moments, first, end) for past in pasts])
        # What is not over yet, or was not when the later part began, is known to neither.
        before, after = when < split - end, (when >= split) & (when < now - end)
        if len(np.unique(y[before])) < 2 or not after.any():
            continue
        model = _fitted(x[before], y[before])
        warn_at = _worth_warning(_probability(model, x[before]), y[before])
        said = _probability(model, x)
        trial = _tried(window, said[after], y[after], float(y[before].mean()))
        trials.append(_with_leads(trial, warn_at, pasts, moments, said, after, y))
        if trial.useful:
            settled = when < now - end
            models[window] = _fitted(x[settled], y[settled])
    if models:
        return Learnt(with_signals=with_signals, trials=tuple(trials), models=models)
    return Learnt(
        NO_BETTER, "predictions were no better than how often incidents happen", with_signals, tuple(trials)
    )


def _known_at(pasts: Sequence[ServicePast], moments: FloatArray, *, with_signals: bool) -> FloatArray:
    """Features of all services, (services x moments, F)."""
    every = everywhere(list(pasts))
    n = len(FEATURES) if with_signals else len(OF_ALERTS)
    return np.concatenate([features(past, every, moments)[:, :n] for past in pasts])


def _starts_within(incidents: FloatArray, moments: FloatArray, first: float, end: float) -> BoolArray:
    found: BoolArray = np.searchsorted(incidents, moments + end, "right") > np.searchsorted(
        incidents, moments + first, "right"
    )
    return found


def _fitted(x: FloatArray, y: BoolArray) -> Any:
    # Imported now: most pasts are too short to need them, and they cost a second.
    pipeline: Any = import_module("sklearn.pipeline")
    scaler: Any = import_module("sklearn.preprocessing").StandardScaler()
    regression: Any = import_module("sklearn.linear_model").LogisticRegression(max_iter=500)
    return pipeline.make_pipeline(scaler, regression).fit(x, y)


def _probability(model: Any, x: FloatArray) -> FloatArray:
    said: FloatArray = model.predict_proba(x)[:, 1]
    return said


def _worth_warning(said: FloatArray, y: BoolArray) -> float | None:
    """The lowest probability from which on at least half came true; None where there is none."""
    order = np.argsort(-said, kind="stable")
    right = np.cumsum(y[order]) / np.arange(1, len(order) + 1)
    good = np.flatnonzero(right >= WARN_PRECISION)
    return float(said[order][good[-1]]) if len(good) else None


def _tried(window: str, said: FloatArray, y: BoolArray, base_rate: float) -> Trial:
    order = np.argsort(said, kind="stable")
    expected = np.cumsum(said[order])
    # As many incidents are expected in each group: high predictions are rare, and what matters.
    groups = np.split(order, np.searchsorted(expected, expected[-1] * np.arange(1, BINS) / BINS))
    return Trial(
        window,
        float(((said - y) ** 2).mean()),
        float(((base_rate - y) ** 2).mean()),
        base_rate,
        tuple((float(said[g].mean()), float(y[g].mean()), len(g)) for g in groups if len(g)),
    )


def _with_leads(
    trial: Trial,
    warn_at: float | None,
    pasts: Sequence[ServicePast],
    moments: FloatArray,
    said: FloatArray,
    tried: BoolArray,
    y: BoolArray,
) -> Trial:
    """The trial, with how long ahead each incident of the later part was warned of."""
    first, end = WINDOWS[trial.window]
    warned = np.zeros(len(said), dtype=np.bool_) if warn_at is None else (said >= warn_at) & tried
    of_service = warned.reshape(len(pasts), len(moments))
    begin = moments[tried.reshape(len(pasts), len(moments))[0]][0]
    n_incidents, leads = 0, []
    for past, row in zip(pasts, of_service, strict=True):
        for incident in past.incidents[past.incidents >= begin + end].tolist():
            n_incidents += 1
            ahead = moments[row & (moments >= incident - end) & (moments < incident - first)]
            if len(ahead):
                leads.append(float(incident - ahead[0]))
    return Trial(
        trial.window,
        trial.brier,
        trial.base_brier,
        trial.base_rate,
        trial.calibration,
        warn_at if warned.any() else None,
        float(y[warned].mean()) if warned.any() else None,
        n_incidents,
        tuple(sorted(leads)),
    )


def _told(window: str, model: Any, pasts: Sequence[ServicePast], x: FloatArray) -> list[Risk]:
    scaler, regression = model[0], model[1]
    shares = scaler.transform(x) * regression.coef_[0]
    found = []
    for past, probability, share in zip(pasts, _probability(model, x), shares, strict=True):
        order = np.argsort(-np.abs(share))[:3]
        reasons = tuple((FEATURES[i], round(float(share[i]), 3)) for i in order)
        found.append(Risk(past.service, window, float(probability), reasons))
    return found
