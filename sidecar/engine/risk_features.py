"""What is known of a service at a moment, of all that may herald an incident: numbers without look-ahead."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from sidecar.series import FloatArray

HOUR = 3600.0
DAY = 86400.0
NEAR_SECONDS = 4 * HOUR
LATE_SECONDS = 2 * HOUR
"""A crossing that is so late is no longer expected."""

OF_ALERTS = (
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
OF_SIGNALS = (
    "anomalies in 1 h",
    "anomalies in 6 h",
    "strongest anomaly in 1 h",
    "anomalies elsewhere in 1 h",
    "changes in 1 h",
    "changes in 24 h",
    "thresholds coming near in 6 h",
    "nearness of an expected crossing",
)
"""Known only since they are recorded; see `ServicePast`."""
FEATURES = OF_ALERTS + OF_SIGNALS


def _none() -> FloatArray:
    return np.empty(0)


@dataclass(frozen=True)
class ServicePast:
    """When alerts, incidents and signals of one service started: seconds, increasing.

    Signals: `anomalies` with their `scores`, `changes` (deployments and the like), and when it was told
    that a threshold would be crossed (`ahead`), with how many seconds later (`etas`).
    """

    service: str
    alerts: FloatArray
    incidents: FloatArray
    anomalies: FloatArray = field(default_factory=_none)
    scores: FloatArray = field(default_factory=_none)
    changes: FloatArray = field(default_factory=_none)
    ahead: FloatArray = field(default_factory=_none)
    etas: FloatArray = field(default_factory=_none)


@dataclass(frozen=True)
class Everywhere:
    """When alerts and anomalies of any service started: seconds, increasing."""

    alerts: FloatArray
    anomalies: FloatArray


def everywhere(pasts: list[ServicePast]) -> Everywhere:
    """The sum of all services."""
    return Everywhere(
        np.sort(np.concatenate([_none(), *(past.alerts for past in pasts)])),
        np.sort(np.concatenate([_none(), *(past.anomalies for past in pasts)])),
    )


def features(past: ServicePast, every: Everywhere, moments: FloatArray) -> FloatArray:
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
            started(every.alerts, HOUR) - started(past.alerts, HOUR),
            np.log1p(np.minimum(since / DAY, 30.0)),
            started(past.incidents, 7 * DAY),
            started(past.incidents, 30 * DAY),
            np.sin(angle),
            np.cos(angle),
            weekend,
            started(past.anomalies, HOUR),
            started(past.anomalies, 6 * HOUR),
            np.log1p(_strongest(past, moments, HOUR)),
            started(every.anomalies, HOUR) - started(past.anomalies, HOUR),
            started(past.changes, HOUR),
            started(past.changes, DAY),
            started(past.ahead, 6 * HOUR),
            _nearness(past, moments),
        ],
        axis=1,
    )


def _strongest(past: ServicePast, moments: FloatArray, seconds: float) -> FloatArray:
    """The highest score of the anomalies that started so long before each moment; 0 where there is none."""
    low = np.searchsorted(past.anomalies, moments - seconds, "right")
    high = np.searchsorted(past.anomalies, moments, "right")
    out = np.zeros(len(moments))
    some = np.flatnonzero(high > low)
    if len(some):
        # reduceat wants the end within the array; one more entry makes it so.
        edges = np.stack([low[some], high[some]], axis=1).ravel()
        out[some] = np.maximum.reduceat(np.append(past.scores, 0.0), edges)[::2]
    return out


def _nearness(past: ServicePast, moments: FloatArray) -> FloatArray:
    """1 at the time at which a crossing was expected, less the longer it is away; 0 where none is."""
    out = np.zeros(len(moments))
    for told, eta in zip(past.ahead.tolist(), past.etas.tolist(), strict=True):
        left = told + eta - moments
        known = (moments >= told) & (left > -LATE_SECONDS)
        out[known] = np.maximum(out[known], np.exp(-np.maximum(left[known], 0.0) / NEAR_SECONDS))
    return out
