"""From a learned band to thresholds: the fewest literals that still follow the week.

Pure. A threshold is one number where the band is flat, 24 where days are alike,
and otherwise follows the 168 hours of the week; neighbouring hours with nearly
the same bound share a number. Numbers are rounded away from the band's centre.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from sidecar.config.fields import format_duration
from sidecar.config.model import QueryConfig, RulesConfig
from sidecar.errors import RuleError, RuleReason
from sidecar.series import FloatArray, LabelSet, LearnedBand

HOURS = 168
SAME_SHARE = 0.25
"""Bounds that differ by less than this share of the band's half-width are the same number."""


MAX_SEGMENTS = 36
"""More numbers than this are coarsened: nobody reads them, and Prometheus evaluates each one each time."""


@dataclass(frozen=True, slots=True)
class Segment:
    """Hours [first, end) of a period and the threshold that holds in them."""

    first: int
    end: int
    value: float


@dataclass(frozen=True, slots=True)
class Threshold:
    """One series' bound: `period` hours (1 constant, 24 a day, 168 a week from Sunday 00:00 UTC)."""

    labels: LabelSet
    period: int
    segments: tuple[Segment, ...]
    half_width: float = 0.0

    def by_hour(self) -> list[float]:
        """The bound in each of the week's 168 hours."""
        return [
            next(s.value for s in self.segments if s.first <= hour % self.period < s.end)
            for hour in range(HOURS)
        ]


@dataclass(frozen=True, slots=True)
class Thresholds:
    """What one query's rules are made of. `left_out` says how many series are not in, and why."""

    query: QueryConfig
    above: tuple[Threshold, ...]
    below: tuple[Threshold, ...]
    n_samples: int
    left_out: dict[str, int]

    def bounds(self) -> dict[str, list[float]]:
        """Every series' bounds by hour of week, by side and selector: what a revision is remembered by."""
        return {
            f"{side} {threshold.labels.selector()}": threshold.by_hour()
            for side, members in (("above", self.above), ("below", self.below))
            for threshold in members
        }

    def like(self, bounds: object) -> bool:
        """True where an earlier revision's bounds differ by so little that a new one is not worth it."""
        if not isinstance(bounds, dict):
            return False
        ours = self.bounds()
        if set(ours) != set(bounds):
            return False
        widths = [threshold.half_width for threshold in (*self.above, *self.below)]
        return all(
            np.abs(np.array(ours[name]) - np.array(bounds[name])).max() <= SAME_SHARE * width
            for name, width in zip(ours, widths, strict=True)
        )


def learn(band: LearnedBand, query: QueryConfig, config: RulesConfig) -> Thresholds:
    """Thresholds for a query's series.

    Raises: RuleError: thin evidence where no series was seen for long enough, not
    applicable where the series' labels or values allow no rule.
    """
    _refuse_labels(band, query)
    seen_seconds = band.n_samples * query.step
    known = seen_seconds >= config.min_history
    for array in (band.centre, band.upper if query.direction != "below" else band.lower):
        known &= np.isfinite(array).any(axis=1) & ~np.isinf(array).any(axis=1)
    if not known.any():
        longest = float(seen_seconds.max()) if len(seen_seconds) else 0.0
        raise RuleError(
            RuleReason.THIN_EVIDENCE,
            f"{query.name}: {format_duration(longest)} of samples at most, "
            f"{format_duration(config.min_history)} are needed",
        )
    # Those seen longest are known best; they come first where there are too many.
    order = [int(row) for row in np.argsort(-band.n_samples, kind="stable") if known[row]]
    chosen = sorted(order[: config.max_series_per_rule])
    above: list[Threshold] = []
    below: list[Threshold] = []
    for row in chosen:
        labels = band.labels[row].without("__name__")
        if query.direction != "below":
            above.append(threshold_by_hour(labels, band.centre[row], band.upper[row], config.margin, sign=1))
        # A bound of exactly 0 belongs to a series that is never negative: nothing can be below it.
        if query.direction != "above" and (np.nan_to_num(band.lower[row]) != 0).any():
            below.append(threshold_by_hour(labels, band.centre[row], band.lower[row], config.margin, sign=-1))
    if not above and not below:
        raise RuleError(
            RuleReason.NOT_APPLICABLE,
            f"{query.name}: direction is {query.direction}, and nothing can be below a lower bound of 0",
        )
    left_out = {}
    if not known.all():
        left_out["history too short"] = int((~known).sum())
    if len(order) > len(chosen):
        left_out[f"more than {config.max_series_per_rule} series"] = len(order) - len(chosen)
    return Thresholds(query, tuple(above), tuple(below), int(band.n_samples[chosen].sum()), left_out)


def _refuse_labels(band: LearnedBand, query: QueryConfig) -> None:
    plain = [labels.without("__name__") for labels in band.labels]
    for name in ("query", "horizon"):
        if any(name in labels for labels in plain):
            raise RuleError(
                RuleReason.NOT_APPLICABLE,
                f"{query.name}: its series carry the label {name!r}, which pronoia's own series use; "
                "rename it in the expression with label_replace, or aggregate it away",
            )
    if len(set(plain)) < len(plain):
        raise RuleError(
            RuleReason.NOT_APPLICABLE,
            f"{query.name}: several metrics with equal labels; watch one metric in each query",
        )


def threshold_by_hour(
    labels: LabelSet, centre: FloatArray, edge: FloatArray, margin: float, *, sign: int
) -> Threshold:
    """A bound on one side (`sign` 1: above) by hour of week, as few numbers as follow it.

    `centre` and `edge`: (168,); hours never seen (NaN) take the loosest bound of those that were.
    """
    # Mirrored for the lower side, so that "higher is looser" holds on both.
    bound = sign * (centre + margin * (edge - centre))
    half_width = float(np.nanmedian(np.abs(edge - centre)))
    bound = np.where(np.isfinite(bound), bound, np.nanmax(bound))
    # A band without width would never be coarse enough.
    tolerance = max(SAME_SHARE * half_width, float(np.ptp(bound)) / 100)
    by_day = bound.reshape(7, 24)
    if np.ptp(bound) <= tolerance:
        period, values = 1, np.array([bound.max()])
    elif float(np.ptp(by_day, axis=0).max()) <= 2 * tolerance:
        period, values = 24, by_day.max(axis=0)
    else:
        period, values = HOURS, bound
    runs = _merged(values, tolerance)
    while len(runs) > MAX_SEGMENTS:
        tolerance *= 1.3
        runs = _merged(values, tolerance)
    segments = tuple(Segment(first, end, sign * outward(value, half_width)) for first, end, value in runs)
    return Threshold(labels, period, segments, half_width)


def _merged(values: FloatArray, tolerance: float) -> list[tuple[int, int, float]]:
    """Runs of hours whose bounds lie within the tolerance, with the loosest of each run."""
    runs: list[tuple[int, int, float]] = []
    first, low, high = 0, float(values[0]), float(values[0])
    for hour in range(1, len(values)):
        value = float(values[hour])
        if max(high, value) - min(low, value) > tolerance:
            runs.append((first, hour, high))
            first, low, high = hour, value, value
        else:
            low, high = min(low, value), max(high, value)
    runs.append((first, len(values), high))
    return runs


def outward(value: float, half_width: float) -> float:
    """Rounded up to a tenth of the half-width's magnitude: short to read, never tighter than learnt."""
    grain = half_width if half_width > 0 else abs(value) or 1.0
    quantum = 10.0 ** (math.floor(math.log10(grain)) - 1)
    return float(f"{math.ceil(value / quantum - 1e-9) * quantum:.12g}")
