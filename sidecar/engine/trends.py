"""Which series of a query grow or decline, and whether that is more than chance."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np

from sidecar.engine.arrays import measurements
from sidecar.series import FloatArray, LabelSet, SeriesBatch

DAY_MS = 86_400_000
MIN_DAYS = 7
FALSE_DISCOVERY_RATE = 0.05
"""Of the trends that are told as significant, so many are chance."""


@dataclass(frozen=True)
class Trend:
    """One series' course by day: `per_week` in its unit, `relative_per_week` as a share of its level.

    `chance`: probability of such a course without any trend, corrected for the number of
    series looked at; `significant` where it is below the false-discovery rate.
    """

    labels: LabelSet
    level: float
    per_week: float
    relative_per_week: float
    chance: float
    significant: bool
    n_days: int

    def document(self) -> dict[str, Any]:
        """The trend for JSON, which knows no infinity."""
        relative = self.relative_per_week
        return {
            "labels": dict(self.labels),
            "level": self.level,
            "per_week": self.per_week,
            "relative_per_week": relative if math.isfinite(relative) else None,
            "chance": self.chance,
            "significant": self.significant,
            "days": self.n_days,
        }


def trends(batch: SeriesBatch) -> list[Trend]:
    """The trend of each series with a week of days or more, the fastest growing first.

    Days are compared, from three weeks on only the same days of the week (Hirsch, Slack and
    Smith 1982). Slope: the median over their pairs (Theil 1950, Sen 1968). Chance: Mann (1945)
    and Kendall (1975), with the variance corrected for the dependence of days on each
    other (Hamed and Rao 1998), and for the number of series (Benjamini and Hochberg 1995).
    """
    days = by_day(batch)
    found = [(n, *_trend(row)) for n, row in enumerate(days) if np.isfinite(row).sum() >= MIN_DAYS]
    chances = _corrected([chance for _, _, _, chance in found])
    result = [
        Trend(
            batch.labels[n],
            level,
            7.0 * slope,
            7.0 * slope / abs(level) if level else math.copysign(math.inf, slope) if slope else 0.0,
            chance,
            chance < FALSE_DISCOVERY_RATE,
            int(np.isfinite(days[n]).sum()),
        )
        for (n, level, slope, _), chance in zip(found, chances, strict=True)
    ]
    return sorted(result, key=lambda trend: -trend.relative_per_week)


def by_day(batch: SeriesBatch) -> FloatArray:
    """Means by day, (N, days); NaN for days with less than half of their samples: the first and last, say."""
    day = batch.timestamps // DAY_MS
    names, first = np.unique(day, return_index=True)
    usual = float(np.median(np.diff(np.append(first, batch.n_steps)))) if len(names) else 0.0
    out = np.full((batch.n_series, len(names)), np.nan)
    values = measurements(batch.values)
    for n, name in enumerate(names):
        part = values[:, day == name]
        seen = np.isfinite(part)
        enough = seen.sum(axis=1) >= max(0.5 * usual, 1.0)
        out[enough, n] = np.nansum(part[enough], axis=1) / seen[enough].sum(axis=1)
    return out


def _trend(days: FloatArray) -> tuple[float, float, float]:
    """Level (median), slope a day, probability of such a rank correlation by chance."""
    at = np.flatnonzero(np.isfinite(days))
    y = days[at]
    i, j = np.triu_indices(len(y), 1)
    # With three weeks or more a day is compared with the same days of other weeks only.
    season = at % 7 if at[-1] - at[0] >= 3 * 7 - 1 else np.zeros(len(at), dtype=np.int64)
    alike = season[i] == season[j]
    i, j = i[alike], j[alike]
    difference = y[j] - y[i]
    slope = float(np.median(difference / (at[j] - at[i])))
    s = float(np.sign(difference).sum())
    variance = sum(_variance(y[season == one]) for one in np.unique(season).tolist())
    rest = y - slope * at
    for one in np.unique(season).tolist():
        rest[season == one] -= rest[season == one].mean()
    variance *= _dependence(rest)
    if variance <= 0 or s == 0:
        return float(np.median(y)), slope, 1.0
    z = (abs(s) - 1.0) / math.sqrt(variance)
    return float(np.median(y)), slope, 2.0 * (1.0 - NormalDist().cdf(z))


def _variance(y: FloatArray) -> float:
    """Variance of Kendall's statistic without a trend, ties taken into account."""
    n = len(y)
    _, ties = np.unique(y, return_counts=True)
    return float(n * (n - 1) * (2 * n + 5) - (ties * (ties - 1) * (2 * ties + 5)).sum()) / 18.0


def _dependence(residuals: FloatArray) -> float:
    """By how much dependence of days on each other widens the statistic; 1 where they are independent."""
    n = len(residuals)
    ranks = np.argsort(np.argsort(residuals)).astype(np.float64)
    ranks -= ranks.mean()
    power = float((ranks**2).sum())
    if power <= 0:
        return 1.0
    total = 0.0
    for lag in range(1, n - 2):
        rho = float((ranks[lag:] * ranks[:-lag]).sum()) / power
        if abs(rho) > 1.96 / math.sqrt(n):  # What may be chance is not corrected for.
            total += (n - lag) * (n - lag - 1) * (n - lag - 2) * rho
    # Days that alternate would seem to prove more than independent ones; that is not believed.
    return max(1.0 + 2.0 * total / (n * (n - 1) * (n - 2)), 1.0)


def _corrected(chances: Sequence[float]) -> list[float]:
    """Benjamini and Hochberg's corrected probabilities, in the given order."""
    p = np.array(chances)
    order = np.argsort(p)
    ranked = p[order] * len(p) / np.arange(1, len(p) + 1)
    corrected = np.minimum(np.minimum.accumulate(ranked[::-1])[::-1], 1.0)
    out = np.empty(len(p))
    out[order] = corrected
    return [float(value) for value in out]
