"""Trouble that nobody told of, found in what a rule measures: far beyond normal life, lasting, and rare.

Pure. What stands out so is neither learned as normal nor counted as a false alarm. What comes
back often or by the calendar (a weekly job) is life.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np

from rules.adapt.bounds import ordinary, robust_spread
from rules.adapt.judge import Evidence
from rules.incidents import KnownIncident
from sidecar.series import BoolArray, FloatArray, LabelSet, TimeArray

FAR = 6.0
"""So many robust standard deviations beyond its median a series is far from normal life."""

BEGINS = 2.0
"""Trouble begins where a series left what it goes to every day, in the same unit."""

LASTING_SECONDS = 2700.0
MIN_SAMPLES = 5
"""So long, and over so many samples, it is there before it is trouble and not a peak."""

MOSTLY = 0.7
"""That share of those samples must be far out: what is in trouble is not steady."""

PEAKS = 0.999
"""It is mostly higher than that share of the rest of life, so that no peak of that is as high."""

TOGETHER_MS = 86_400_000
"""Stretches closer than this are one trouble: an outage that comes back, a bad week."""

ONE_IN_DAYS = 7.0
"""More often than that is life."""

AT_MOST = 0.3
"""The same for what takes a greater share of the time, with the pauses in it."""

WEEK_MS = 7 * 86_400_000
SAME_HOUR_MS = 3_600_000

Stretch = tuple[int, int]
"""Its first and its last moment (ms)."""


def suspected(evidence: Evidence) -> tuple[KnownIncident, ...]:
    """Stretches that are taken for incidents, outside of those that are known; in order.

    Spreads are robust, so that a week of trouble in four does not hide itself.
    """
    if evidence.times.size < 2:
        return ()
    sign = 1 if evidence.comparison.above else -1
    mirrored = sign * evidence.values
    far_by = _far_by(mirrored, evidence.normal)
    lasting = _lasting(far_by > FAR, evidence.step_seconds)
    if not lasting.any():
        return ()
    rows = lasting.any(axis=1)
    calm = evidence.times[~(far_by[rows] > BEGINS).any(axis=0)]
    pause_ms = max(LASTING_SECONDS, 1.5 * evidence.step_seconds) * 1000
    known = ~evidence.normal
    life = evidence.normal & ~lasting.any(axis=0)
    stretches = [
        (_begin(first, calm), last)
        for first, last in _runs(evidence.times[lasting.any(axis=0)], pause_ms)
        if not (known & _between(first, last, evidence)).any()
        and _beyond_life(mirrored, lasting & _between(first, last, evidence), life)
    ]
    if not _rare(stretches, evidence):
        return ()
    match = _exactly(evidence.labels[int(np.argmax(rows))]) if rows.sum() == 1 else {}
    return tuple(_incident(one, match) for one in stretches if not _comes_back(one, stretches))


def _far_by(mirrored: FloatArray, normal: BoolArray) -> FloatArray:
    """(N, T) by how many of its series' robust deviations each value lies on the bad side of its median."""
    far_by = np.full(mirrored.shape, np.nan)
    for row, values in enumerate(mirrored):
        quiet = values[normal & np.isfinite(ordinary(values))]
        if quiet.size:
            centre = float(np.median(quiet))
            with np.errstate(over="ignore"):  # What stands for infinity, over hardly any spread.
                far_by[row] = (values - centre) / robust_spread(quiet - centre)
    return far_by


def _lasting(far: BoolArray, step_seconds: float) -> BoolArray:
    """(N, T) where a value is far out, in a span of that length that mostly is."""
    span = max(round(LASTING_SECONDS / step_seconds), MIN_SAMPLES)
    found = np.zeros_like(far)
    if far.shape[1] < span:
        return found
    for row in np.flatnonzero(far.sum(axis=1) >= MOSTLY * span):
        there = np.convolve(far[row], np.ones(span), "valid") >= MOSTLY * span
        found[row] = (np.convolve(there, np.ones(span)) > 0.5) & far[row]
    return found


def _runs(times: TimeArray, pause_ms: float) -> list[Stretch]:
    """Those moments, the ones no further apart than the pause together."""
    if not times.size:
        return []
    ends = np.flatnonzero(np.diff(times) > pause_ms)
    firsts, lasts = times[[0, *(ends + 1)]], times[[*ends, -1]]
    return list(zip(firsts.tolist(), lasts.tolist(), strict=True))


def _between(first_ms: int, last_ms: int, evidence: Evidence) -> BoolArray:
    """(T,) where the time is between those."""
    inside: BoolArray = (evidence.times >= first_ms) & (evidence.times <= last_ms)
    return inside


def _beyond_life(mirrored: FloatArray, there: BoolArray, life: BoolArray) -> bool:
    """Whether what lasted was mostly further out than life's peaks, short ones included."""
    rest = ordinary(mirrored[:, life])
    if not np.isfinite(rest).any():
        return False
    return bool(np.nanmedian(mirrored[there]) > np.nanquantile(rest, PEAKS))


def _rare(stretches: Sequence[Stretch], evidence: Evidence) -> bool:
    """Whether they are few and short for so long a past, pauses within a trouble included."""
    moments = np.array([moment for stretch in stretches for moment in stretch], dtype=np.int64)
    troubles = _runs(moments, TOGETHER_MS)
    share = sum(last - first for first, last in troubles) / (evidence.days * 86_400_000)
    return len(troubles) <= max(evidence.days / ONE_IN_DAYS, 1.0) and share <= AT_MOST


def _comes_back(stretch: Stretch, stretches: Sequence[Stretch]) -> bool:
    """Whether another one begins at the same hour of another week."""
    apart = [abs(other - stretch[0]) for other, _ in stretches]
    return any(ms > WEEK_MS / 2 and min(ms % WEEK_MS, -ms % WEEK_MS) <= SAME_HOUR_MS for ms in apart)


def _begin(first_ms: int, calm: TimeArray) -> int:
    """The first moment after the last calm one before it; that very moment where none is known."""
    before = int(np.searchsorted(calm, first_ms))
    return int(calm[before - 1]) + 1 if before else first_ms


def _incident(stretch: Stretch, match: dict[str, str]) -> KnownIncident:
    start, end = stretch
    moment = datetime.fromtimestamp(start / 1000, UTC)
    return KnownIncident(
        f"what stood out on {moment:%Y-%m-%d %H:%M}", start, end, match=match, suspected=True
    )


def _exactly(labels: LabelSet) -> dict[str, str]:
    return {name: re.escape(value) for name, value in labels.items()}
