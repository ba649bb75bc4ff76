"""Series that usually move together, judged together: how unlikely the whole is, and by whose doing.

Each series has an expectation of its own (level and hour of day). What is left over, in its own
units, goes through a factor model of the group: a few shared directions and a noise of each
series (robust: columns far from the others count less). The Mahalanobis distance under this
model is the group's; each series answers for its share of it, or for its distance from what the
others say of it, whichever is larger, and what is expected of it is what they say. Sources:
Mahalanobis (1936); Rousseeuw, Van Zomeren (1990), Unmasking multivariate outliers; Maronna (1976),
Robust M-estimators of multivariate location and scatter, for the weights.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Self

import numpy as np
from numba import njit
from numpy.typing import NDArray

from sidecar.engine.arrays import measurements
from sidecar.engine.detect.course import CourseDetector
from sidecar.engine.index import GONE
from sidecar.engine.profile import HOURS_OF_DAY, learn, place, read
from sidecar.engine.protocols import Judged
from sidecar.errors import ModelError
from sidecar.series import FloatArray, LabelSet, RowArray, SeriesBatch

KEPT = 256
"""Columns of residuals that a fit learns from."""

FACTORS = 4
FIRST_FIT = 64
LEAST_SAMPLES = 20
REACH = 8.0
"""Residuals beyond so many deviations are all the same: far."""

TEACHES = 2.5
"""A residual teaches as if it were no further than so many deviations: one odd day is not the new normal."""

QUIETEST = 0.3
REMEMBERED_HOURS = 14.0  # Of an hour of the day: two weeks.
SCALE_SECONDS = 7 * 86400.0
LEVEL_SECONDS = 86400.0
LEAST_NOISE = 0.1
"""Part of a series' variance that no factor explains: two equal series may differ a little."""

SAMPLES, LAST_SECONDS, LEVEL, SCALE, NEGATIVE = range(5)


@njit(cache=True, nogil=True)
def _residuals(course, day, loud, day_mass, seconds, x, out, centre, scale):
    """What each sample is off its own expectation by, in its scale, learning both.

    Of a series that never was negative it is the roots that are looked at: the root of a count
    varies as much at any level, and has a tail on neither side.
    """
    for row in range(x.shape[0]):
        s = course[row]
        for t in range(x.shape[1]):
            y = x[row, t]
            if not np.isfinite(y):
                continue
            if y < 0.0:
                s[NEGATIVE] = 1.0
            elif s[NEGATIVE] == 0.0:
                y = np.sqrt(y)
            n = s[SAMPLES]
            elapsed = min(max(seconds[t] - s[LAST_SECONDS], 1.0), 6 * 3600.0) if n else 60.0
            profiled, mass = read(day, day_mass, row, seconds[t], HOURS_OF_DAY)
            season = profiled if mass > 0.0 else y
            if n == 0.0:
                s[LEVEL] = 0.0
            expected = season + s[LEVEL]
            of_hour, known = read(loud, day_mass, row, seconds[t], HOURS_OF_DAY)
            usual = s[SCALE]
            if known > 0.0:
                # Counts vary as their level does: an evening is louder than a night.
                trust = known / (known + 2.0)
                usual *= min(max(1.0 + trust * (of_hour / max(usual, 1e-300) - 1.0), QUIETEST), 4.0)
            unit = max(usual, 1e-3 * abs(expected), 1e-12)
            off = y - expected
            if n >= LEAST_SAMPLES:
                out[row, t] = min(max(off / unit, -REACH), REACH)
                centre[row, t], scale[row, t] = expected, unit
                off = min(max(off, -TEACHES * unit), TEACHES * unit)
            s[LEVEL] += max(1.0 / (n + 2.0), 1.0 - np.exp(-elapsed / LEVEL_SECONDS)) * off
            pace = max(1.0 / (n + 1.0), 1.0 - np.exp(-elapsed / SCALE_SECONDS))
            s[SCALE] += pace * (1.2533 * abs(off) - s[SCALE])  # Of a Gaussian, sigma by mean size.
            hours = elapsed / 3600.0
            # Both profiles are visited together and share their mass: the second to learn counts the visit.
            first, second, share = place(seconds[t], HOURS_OF_DAY, 1.0)
            taught = 1.2533 * abs(off)
            for b, part in ((first, 1.0 - share), (second, share)):
                gained = hours * part
                rate = max(gained / (day_mass[row, b] + gained + 1e-12), gained / REMEMBERED_HOURS)
                loud[row, b] += min(rate, 1.0) * (taught - loud[row, b])
            learn(day, day_mass, row, seconds[t], HOURS_OF_DAY, expected + off, hours)
            s[SAMPLES] = n + 1.0
            s[LAST_SECONDS] = seconds[t]


@njit(cache=True, nogil=True)
def _distances(loadings, noise, order, starts, z, value, off):
    """Each series' part of its group's distance, and its distance from what the others say of it."""
    k_all = loadings.shape[1]
    inner = np.empty((k_all, k_all))
    shared = np.empty(k_all)
    pulled, alone = np.empty(z.shape[0]), np.empty(z.shape[0])
    for t in range(z.shape[1]):
        for group in range(len(starts) - 1):
            n = 0
            inner[:] = 0.0
            shared[:] = 0.0
            for k in range(k_all):
                inner[k, k] = 1.0
            for at in range(starts[group], starts[group + 1]):
                row = order[at]
                if not np.isfinite(z[row, t]) or noise[row] <= 0.0:
                    continue
                n += 1
                for k in range(k_all):
                    shared[k] += loadings[row, k] * z[row, t] / noise[row]
                    for j in range(k_all):
                        inner[k, j] += loadings[row, k] * loadings[row, j] / noise[row]
            if n < 2:
                continue
            inverse = np.linalg.inv(inner)
            total = most = 0.0
            for at in range(starts[group], starts[group + 1]):
                row = order[at]
                if not np.isfinite(z[row, t]) or noise[row] <= 0.0:
                    continue
                explained = own = 0.0
                for k in range(k_all):
                    for j in range(k_all):
                        explained += loadings[row, k] * inverse[k, j] * shared[j]
                        own += loadings[row, k] * inverse[k, j] * loadings[row, j]
                # Row of (inverse covariance times residuals), by the Woodbury identity; and its own entry.
                pulled[row] = (z[row, t] - explained) / noise[row]
                entry = (1.0 - own / noise[row]) / noise[row]
                off[row, t] = pulled[row] / entry
                alone[row] = abs(pulled[row]) / np.sqrt(entry)
                part = max(z[row, t] * pulled[row], 0.0)
                total += z[row, t] * pulled[row]
                most = max(most, part)
            # Fisher's approximation: a chi-square of n degrees as about a normal deviate.
            distance = max(np.sqrt(2.0 * max(total, 0.0)) - np.sqrt(2.0 * n - 1.0), 0.0)
            for at in range(starts[group], starts[group + 1]):
                row = order[at]
                if np.isfinite(z[row, t]) and noise[row] > 0.0:
                    part = max(z[row, t] * pulled[row], 0.0)
                    shared_part = distance * np.sqrt(part / most) if most > 0.0 else 0.0
                    value[row, t] = max(shared_part, alone[row])


def factors(z: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Loadings (g, FACTORS) and noise variances (g,) of a group's residuals, (g, T); NaN is as expected."""
    z = np.nan_to_num(z)
    size = np.sqrt((z**2).mean(axis=0))
    seen = size > 0
    if seen.sum() < FIRST_FIT // 2:
        return np.zeros((len(z), FACTORS)), np.ones(len(z))
    # What is far from the rest tells of incidents, not of how the series usually move.
    weight = np.minimum(1.0, 1.5 * np.median(size[seen]) / np.maximum(size[seen], 1e-12))
    weighted = z[:, seen] * weight
    variance = (weighted**2).mean(axis=1)
    left, singular, _ = np.linalg.svd(weighted, full_matrices=False)
    eigen = singular**2 / weighted.shape[1]
    n_factors = min(FACTORS, max(len(z) // 2, 1))
    kept = np.maximum(
        eigen[:n_factors] - eigen[n_factors:].mean() if len(eigen) > n_factors else eigen[:n_factors], 0.0
    )
    loadings = np.zeros((len(z), FACTORS))
    loadings[:, : len(kept)] = left[:, : len(kept)] * np.sqrt(kept)
    least = np.maximum(LEAST_NOISE * variance, 1e-3)
    return loadings, np.maximum(variance - (loadings**2).sum(axis=1), least)


def fit_groups(recent: FloatArray, order: RowArray, starts: RowArray) -> tuple[FloatArray, FloatArray]:
    """`factors` of every group; rows of none have noise 0."""
    loadings, noise = np.zeros((len(recent), FACTORS)), np.zeros(len(recent))
    for first, end in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True):
        rows = order[first:end]
        if len(rows) > 1:
            loadings[rows], noise[rows] = factors(recent[rows].astype(np.float64))
    return loadings, noise


class Groups:
    """Rows by the values of some labels; with no labels, all are one group."""

    def __init__(self, by: tuple[str, ...]) -> None:
        self._by = by
        self._labels: tuple[LabelSet, ...] | None = None
        self.order: RowArray = np.zeros(0, dtype=np.int64)
        self.starts: RowArray = np.zeros(1, dtype=np.int64)

    def follow(self, labels: tuple[LabelSet, ...]) -> None:
        """Take the labels of the rows as they are now."""
        if labels is self._labels:
            return
        self._labels = labels
        groups: dict[tuple[str, ...], list[int]] = {}
        for row, label_set in enumerate(labels):
            if label_set is not GONE:
                groups.setdefault(tuple(label_set.get(name, "") for name in self._by), []).append(row)
        self.order = np.array([row for rows in groups.values() for row in rows], dtype=np.int64)
        self.starts = np.cumsum([0, *(len(rows) for rows in groups.values())]).astype(np.int64)


class MultivariateDetector(CourseDetector[tuple[FloatArray, FloatArray]]):
    """The detector `multivariate`; see the module's docstring. State 1,640 bytes a series with its threshold.

    `group_by`: labels whose values make a group.
    """

    def __init__(self, budget_per_month: float, step_seconds: float, group_by: tuple[str, ...] = ()) -> None:
        super().__init__(
            {
                "course": ((5,), np.float64),
                "day": ((HOURS_OF_DAY,), np.float64),
                "loud": ((HOURS_OF_DAY,), np.float64),
                "day_mass": ((HOURS_OF_DAY,), np.float32),
                "recent": ((KEPT,), np.float32),
                "loadings": ((FACTORS,), np.float64),
                "noise": ((), np.float64),
            },
            budget_per_month,
            step_seconds,
        )
        self._groups = Groups(group_by)
        self._period = max(round(86400 / step_seconds), KEPT)
        self._n_columns = 0
        self._due = FIRST_FIT

    def reset(self, rows: RowArray) -> None:
        """Forget these rows; a fit under way knows them still, and is not taken."""
        super().reset(rows)
        self._coming = None

    def judge(self, batch: SeriesBatch) -> Judged:
        """Judge and learn the columns in order of time; see `Detector.judge`."""
        self._groups.follow(batch.labels)
        value, yhat = np.full(batch.values.shape, np.nan), np.full(batch.values.shape, np.nan)
        first = 0
        while first < batch.n_steps:
            end = min(first + max(self._due - self._n_columns, 1), batch.n_steps)
            part = replace(batch, timestamps=batch.timestamps[first:end], values=batch.values[:, first:end])
            value[:, first:end], yhat[:, first:end] = self._statistic(part)
            first = end
        return self._judged(batch.timestamps, value, yhat)

    def _statistic(self, part: SeriesBatch) -> tuple[FloatArray, FloatArray]:
        arrived = self._arrived()
        if arrived is not None:
            self._take(*arrived)
        x = measurements(part.values)
        z, centre, scale, value, off = (np.full(x.shape, np.nan) for _ in range(5))
        course, day, loud, day_mass = (self.arrays[name] for name in ("course", "day", "loud", "day_mass"))
        _residuals(course, day, loud, day_mass, part.timestamps / 1000.0, x, z, centre, scale)
        groups = self._groups
        _distances(self.arrays["loadings"], self.arrays["noise"], groups.order, groups.starts, z, value, off)
        for t in range(part.n_steps):
            self.arrays["recent"][:, self._n_columns % KEPT] = z[:, t]
            self._n_columns += 1
        if self._n_columns >= self._due:
            self._begin_fit()
        # What the others say of it: its own expectation and what it shares with them.
        expected = centre + (z - off) * scale
        rooted = (course[:, NEGATIVE] == 0.0)[:, None]
        return value, np.where(rooted, np.maximum(expected, 0.0) ** 2, expected)

    def _begin_fit(self) -> None:
        if self._coming is not None:
            # While a past is read thousands of columns pass meanwhile.
            self._due = self._n_columns + FIRST_FIT
            return
        self._due = self._n_columns + min(3 * self._n_columns, self._period)
        work = self.arrays["recent"].copy(), self._groups.order, self._groups.starts
        if self.trainer is None:
            self._take(*fit_groups(*work))
        else:
            self._coming = self.trainer.submit(fit_groups, *work)

    def _take(self, loadings: FloatArray, noise: FloatArray) -> None:
        self.arrays["loadings"][: len(loadings)] = loadings
        self.arrays["noise"][: len(noise)] = noise

    def state(self) -> dict[str, NDArray[Any]]:
        """The rows' arrays, and how many columns were seen."""
        due = self._due if self._coming is None else self._n_columns  # Who restores this has no fit to come.
        return super().state() | {"counts": np.array([self._n_columns, due])}

    def restore(self, state: dict[str, NDArray[Any]]) -> Self:
        """Take what `state` once gave. Raises: ModelError."""
        rest = dict(state)
        counts = rest.pop("counts", np.empty(0))
        if counts.shape != (2,):
            raise ModelError("state lacks the number of columns")
        super().restore(rest)
        self._n_columns, self._due = (int(n) for n in counts)
        return self
