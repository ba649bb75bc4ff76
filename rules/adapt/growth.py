"""Whether what makes a rule noisy climbs for weeks, so that a number which is quiet now is crossed soon.

Pure. On a disk that fills such an alarm says what it was written to say; a number moved after the
disk would be moved again and again, until nobody is told before it is full.
"""

from __future__ import annotations

import numpy as np

from rules.adapt.bounds import Bound, Trend, ordinary, robust_spread, steady_slope
from rules.adapt.judge import Candidate, Evidence, false_alarms, fired
from sidecar.config.fields import format_duration
from sidecar.series import FloatArray

MIN_DAYS = 14
"""Within a week any series may climb from its quiet day to its busy one."""

STEADY = 10.0
"""It climbs by so many robust deviations of its days from the line through them: traffic goes up and down."""

STILL = 0.5
"""The later half climbs by at least that share of the whole's slope: what stepped up once has ended."""

NOW_DAYS = 3
USUAL_PEAK = 0.95
"""Where a series is now: beyond that share of its last days."""

WATCH = "watch the time that is left (predict_linear, rules.ahead)"

DAY_MS = 86_400_000


def outgrown(evidence: Evidence, old: Candidate, bound: Bound) -> str:
    """Why the bound will not hold, in words; empty where nothing says so.

    It will not where most false alarms of `old` are of series whose climb carries them over it within
    as long a time as the past that is known.
    """
    if isinstance(bound, Trend):
        return ""
    n_false = false_alarms(fired(old, evidence), evidence)
    sign = 1 if evidence.comparison.above else -1
    edge = sign * float(np.median(bound.at(evidence.times[evidence.times > evidence.times[-1] - DAY_MS])))
    climbing, fastest, soonest = 0, 0.0, np.inf
    for row in np.flatnonzero(n_false):
        slope, level = _climb(sign * ordinary(evidence.values[row]), evidence)
        days_left = max(edge - level, 0.0) / slope if slope > 0 else np.inf
        if days_left <= evidence.days:
            climbing += int(n_false[row])
            fastest, soonest = max(fastest, slope), min(soonest, days_left)
    if 2 * climbing <= n_false.sum():
        return ""
    when = (
        f"would be crossed in {format_duration(round(soonest) * 86_400)}" if soonest >= 0.5 else "is crossed"
    )
    moves = "climbs" if sign > 0 else "sinks"
    return f"what it measures {moves} by {fastest * 7:.3g} a week: {bound.words()} {when}"


def _climb(mirrored: FloatArray, evidence: Evidence) -> tuple[float, float]:
    """By how much a series climbs a day, 0 where it does not steadily, and where it is now."""
    times = evidence.times[evidence.normal]
    quiet = mirrored[evidence.normal]
    there = np.isfinite(quiet)
    days = times[there] // DAY_MS
    distinct, firsts = np.unique(days, return_index=True)
    known = distinct.astype(np.float64)
    if known.size < MIN_DAYS:
        return 0.0, np.nan
    medians = np.array([np.median(one) for one in np.split(quiet[there], firsts[1:])])
    slope = steady_slope(known, medians)
    away = medians - slope * known
    steady = slope * (known[-1] - known[0]) >= STEADY * robust_spread(away - np.median(away))
    half = known.size // 2
    if not steady or steady_slope(known[half:], medians[half:]) < STILL * slope:
        return 0.0, np.nan
    return slope, float(np.quantile(quiet[there][days > known[-1] - NOW_DAYS], USUAL_PEAK))
