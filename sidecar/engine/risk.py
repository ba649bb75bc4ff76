"""How likely an incident starts on a service soon, learnt from the incidents and alerts that were stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np

from sidecar.series import BoolArray, FloatArray

HOUR = 3600.0
DAY = 86400.0
WINDOWS: Mapping[str, tuple[float, float]] = {
    "30m-3h": (0.5 * HOUR, 3 * HOUR),
    "4h": (0.0, 4 * HOUR),
    "24h": (0.0, DAY),
}
"""From when to when ahead an incident counts, in seconds."""

FEATURES = (
    "alerts in 1 h",
    "alerts in 6 h",
    "alerts in 24 h",
    "alerts elsewhere in 1 h",
    "days since the last incident",
    "incidents in 7 days",
    "incidents in 30 days",
    "time of day (sine)",
    "time of day (cosine)",
    "weekend",
)
EVERY_SECONDS = 0.5 * HOUR
LEARNT_SHARE = 0.7
MIN_LEARNT, MIN_TRIED = 30, 10
"""So many incidents must lie in the part that is learnt from, and in the later part that is tried on."""
MAX_MOMENTS = 400_000
MUST_GAIN = 0.02
BINS = 5


@dataclass(frozen=True)
class ServicePast:
    """When alerts and incidents of one service started: seconds, increasing."""

    service: str
    alerts: FloatArray
    incidents: FloatArray


@dataclass(frozen=True)
class Trial:
    """How predictions of one window did on the later part: Brier scores, less is better.

    `calibration`: mean prediction, share that came true and number, of groups of equal size.
    """

    window: str
    brier: float
    base_brier: float
    base_rate: float
    calibration: tuple[tuple[float, float, int], ...]

    @property
    def useful(self) -> bool:
        """Whether it says more than how often incidents happen."""
        return self.brier < (1.0 - MUST_GAIN) * self.base_brier


@dataclass(frozen=True)
class Risk:
    """One service now: probability and what it comes from (log odds beside the usual), largest first."""

    service: str
    window: str
    probability: float
    reasons: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class Outcome:
    """What was learnt. `silent`: why nothing is predicted; empty where something is."""

    silent: str
    trials: tuple[Trial, ...] = ()
    risks: tuple[Risk, ...] = ()


def assess(pasts: Sequence[ServicePast], *, begin: float, now: float) -> Outcome:
    """Learn from the earlier part of `begin`..`now` (seconds), try on the later, predict for now.

    A window whose predictions are no better than the base rate is tried, but not predicted.
    """
    split = begin + LEARNT_SHARE * (now - begin)
    learnt = sum(int((past.incidents < split).sum()) for past in pasts)
    tried = sum(int((past.incidents >= split).sum()) for past in pasts)
    if learnt < MIN_LEARNT or tried < MIN_TRIED:
        return Outcome(
            f"{learnt} incidents to learn from and {tried} to try on; {MIN_LEARNT} and {MIN_TRIED} are needed"
        )
    step = max(EVERY_SECONDS, (now - begin) * len(pasts) / MAX_MOMENTS)
    moments = np.arange(begin + DAY, now, step)
    everything = np.sort(np.concatenate([past.alerts for past in pasts]))
    x = np.concatenate([features(past, everything, moments) for past in pasts])
    at_now = np.concatenate([features(past, everything, np.array([now])) for past in pasts])
    when = np.tile(moments, len(pasts))
    trials, risks = [], []
    for window, (first, end) in WINDOWS.items():
        y = np.concatenate([_starts_within(past.incidents, moments, first, end) for past in pasts])
        # What is not over yet, or was not when the later part began, is known to neither.
        before, after = when < split - end, (when >= split) & (when < now - end)
        if len(np.unique(y[before])) < 2 or not after.any():
            continue
        trial = _try(window, _fitted(x[before], y[before]), x[after], y[after], float(y[before].mean()))
        trials.append(trial)
        if trial.useful:
            settled = when < now - end
            risks += _predict(window, _fitted(x[settled], y[settled]), pasts, at_now)
    silent = "" if risks else "predictions were no better than how often incidents happen"
    return Outcome(silent, tuple(trials), tuple(sorted(risks, key=lambda risk: -risk.probability)))


def features(past: ServicePast, everything: FloatArray, moments: FloatArray) -> FloatArray:
    """What is known of a service at each moment, (m, len(FEATURES)); nothing that starts later enters."""

    def started(times: FloatArray, seconds: float) -> FloatArray:
        found = np.searchsorted(times, moments, "right") - np.searchsorted(times, moments - seconds, "right")
        return np.log1p(found)

    newest = np.searchsorted(past.incidents, moments, "right") - 1
    since = np.full(len(moments), np.inf)
    known = newest >= 0
    since[known] = moments[known] - past.incidents[newest[known]]
    angle = 2.0 * np.pi * (moments % DAY) / DAY
    # 1970-01-01 was a Thursday.
    weekend = ((moments // DAY + 3) % 7 >= 5).astype(np.float64)
    return np.stack(
        [
            started(past.alerts, HOUR),
            started(past.alerts, 6 * HOUR),
            started(past.alerts, DAY),
            started(everything, HOUR) - started(past.alerts, HOUR),
            np.log1p(np.minimum(since / DAY, 30.0)),
            started(past.incidents, 7 * DAY),
            started(past.incidents, 30 * DAY),
            np.sin(angle),
            np.cos(angle),
            weekend,
        ],
        axis=1,
    )


def _starts_within(incidents: FloatArray, moments: FloatArray, first: float, end: float) -> BoolArray:
    found: BoolArray = np.searchsorted(incidents, moments + end, "right") > np.searchsorted(
        incidents, moments + first, "right"
    )
    return found


def _fitted(x: FloatArray, y: BoolArray) -> Any:
    pipeline: Any = import_module("sklearn.pipeline")
    scaler: Any = import_module("sklearn.preprocessing").StandardScaler()
    regression: Any = import_module("sklearn.linear_model").LogisticRegression(max_iter=500)
    return pipeline.make_pipeline(scaler, regression).fit(x, y)


def _try(window: str, model: Any, x: FloatArray, y: BoolArray, base_rate: float) -> Trial:
    said = model.predict_proba(x)[:, 1]
    groups = np.array_split(np.argsort(said, kind="stable"), BINS)
    return Trial(
        window,
        float(((said - y) ** 2).mean()),
        float(((base_rate - y) ** 2).mean()),
        base_rate,
        tuple((float(said[g].mean()), float(y[g].mean()), len(g)) for g in groups if len(g)),
    )


def _predict(window: str, model: Any, pasts: Sequence[ServicePast], at_now: FloatArray) -> list[Risk]:
    scaler, regression = model[0], model[1]
    shares = scaler.transform(at_now) * regression.coef_[0]
    said = model.predict_proba(at_now)[:, 1]
    found = []
    for past, probability, share in zip(pasts, said, shares, strict=True):
        order = np.argsort(-np.abs(share))[:3]
        reasons = tuple((FEATURES[i], round(float(share[i]), 3)) for i in order)
        found.append(Risk(past.service, window, float(probability), reasons))
    return found
