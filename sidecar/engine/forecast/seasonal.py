"""Profile plus fading level against last value, mixed by past errors at each horizon.

Two rules forecast every horizon: the seasonal profile plus the recent level
error, which fades with the lead time, and the recent mean. They are mixed by
their errors at that very horizon so far; the interval is the followed quantiles
of the mix's own errors there, on either side. Forecasts wait in a small ring
until their time has come and then teach.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from sidecar.engine.arrays import RowArrays
from sidecar.engine.profile import HOURS_OF_DAY, HOURS_OF_WEEK, VISITS_REMEMBERED, place, read_at, teach
from sidecar.series import Forecast, SeriesBatch

PENDING = 12  # Forecasts that wait at once, per horizon.
RECENT_SECONDS = 600.0
LEVEL_SECONDS = 3600.0
FADE_SECONDS = 6 * 3600.0
ERROR_SECONDS = 3 * 86400.0
LEVEL = 0.95

RECENT, LEVEL_ERROR, SAMPLES, LAST_SECONDS, SPREAD = range(5)
ERR_SEASONAL, ERR_RECENT, Q_LOW, Q_HIGH, N_ERRORS = range(5)


@njit(cache=True)
def _places(seconds):
    """Where times fall in a day and a week, (T, 4) bins and (T, 2) shares: the same for all rows."""
    bins = np.empty((len(seconds), 4), dtype=np.int64)
    shares = np.empty((len(seconds), 2))
    # One by one: assigned as slices, numba compiles its formatting of strings for a shape that does not fit.
    for t in range(len(seconds)):
        bins[t, 0], bins[t, 1], shares[t, 0] = place(seconds[t], HOURS_OF_DAY, 1.0)
        bins[t, 2], bins[t, 3], shares[t, 1] = place(seconds[t], HOURS_OF_WEEK, 1.0)
    return bins, shares


@njit(cache=True, inline="always")
def _candidates(s, day, day_mass, week, week_mass, row, bins, shares, at, fades):
    w, w_mass = read_at(week, week_mass, row, bins[at, 2], bins[at, 3], shares[at, 1])
    d, d_mass = read_at(day, day_mass, row, bins[at, 0], bins[at, 1], shares[at, 0])
    recent = s[row, RECENT]
    if w_mass > 0.25:
        trust = w_mass / (w_mass + 1.0)
        profile = trust * w + (1.0 - trust) * d if d_mass > 0.25 else w
    elif d_mass > 0.25:
        profile = d
    else:
        return recent, recent
    return profile + s[row, LEVEL_ERROR] * fades, recent


@njit(cache=True, inline="always")
def _mix(errors, row, h, seasonal, recent, spread):
    floor = 1e-12 + 1e-3 * spread
    # Each by the inverse fourth power of its error, in one division.
    a, b = errors[row, h, ERR_RECENT] + floor, errors[row, h, ERR_SEASONAL] + floor
    a, b = a * a, b * b
    a, b = a * a, b * b
    return (a * seasonal + b * recent) / (a + b)


@njit(cache=True, nogil=True)
def _run(s, day, day_mass, week, week_mass, errors, pending, pending_due, leads, every, seconds, x):
    n_rows, n_steps = x.shape
    n_leads = len(leads)
    bins, shares = _places(seconds)
    fades = np.exp(-leads / FADE_SECONDS)
    turn = np.empty((n_steps, n_leads), dtype=np.int64)
    late = np.empty((n_steps, n_leads))
    for t in range(n_steps):
        for h in range(n_leads):
            turn[t, h] = int(np.floor(seconds[t] / every[h]))
            late[t, h] = seconds[t] - turn[t, h] * every[h]
    # One column of many rows is the usual case: where its forecasts aim at is found once.
    aims = np.empty((n_leads, n_steps, 4), dtype=np.int64)
    aim_shares = np.empty((n_leads, n_steps, 2))
    for h in range(n_leads):
        aims[h], aim_shares[h] = _places(seconds + leads[h])
    for row in range(n_rows):
        for t in range(n_steps):
            now = seconds[t]
            y = x[row, t]
            if not np.isfinite(y):
                continue
            n = s[row, SAMPLES]
            dt = min(max(now - s[row, LAST_SECONDS], 1e-3), 21600.0) if n > 0.0 else 1e-3
            # What was forecast for about now teaches first.
            if n > 0.0:
                for h in range(n_leads):
                    for k in range(PENDING):
                        due = pending_due[row, h, k]
                        if due <= 0.0 or due > now:
                            continue
                        pending_due[row, h, k] = 0.0
                        if now - due > max(2.0 * dt, 60.0):
                            continue  # A gap lay there; the value of another time teaches nothing.
                        seasonal, recent = pending[row, h, k, 0], pending[row, h, k, 1]
                        m = errors[row, h, N_ERRORS]
                        rate = max(1.0 / (m + 1.0), every[h] / (ERROR_SECONDS + every[h]))
                        mixed = _mix(errors, row, h, seasonal, recent, s[row, SPREAD])
                        off = y - mixed
                        size = errors[row, h, ERR_SEASONAL] + errors[row, h, ERR_RECENT]
                        if m < 4.0:
                            errors[row, h, Q_HIGH] = max(errors[row, h, Q_HIGH], 1.5 * abs(off))
                            errors[row, h, Q_LOW] = max(errors[row, h, Q_LOW], 1.5 * abs(off))
                        else:
                            step = 0.5 * size / np.sqrt(min(m, 400.0))
                            share = (1.0 - LEVEL) / 2.0
                            errors[row, h, Q_HIGH] += step * (
                                (1.0 - share) if off > errors[row, h, Q_HIGH] else -share
                            )
                            errors[row, h, Q_LOW] += step * (
                                (1.0 - share) if -off > errors[row, h, Q_LOW] else -share
                            )
                            errors[row, h, Q_HIGH] = max(errors[row, h, Q_HIGH], 0.0)
                            errors[row, h, Q_LOW] = max(errors[row, h, Q_LOW], 0.0)
                        cap = np.inf if m < 10.0 else 10.0 * size
                        errors[row, h, ERR_SEASONAL] += rate * (
                            min(abs(y - seasonal), cap) - errors[row, h, ERR_SEASONAL]
                        )
                        errors[row, h, ERR_RECENT] += rate * (
                            min(abs(y - recent), cap) - errors[row, h, ERR_RECENT]
                        )
                        errors[row, h, N_ERRORS] = m + 1.0
            if n <= 0.0:
                s[row, RECENT] = y
            else:
                s[row, RECENT] += max(1.0 / (n + 1.0), dt / (RECENT_SECONDS + dt)) * (y - s[row, RECENT])
                s[row, SPREAD] += max(1.0 / (n + 1.0), dt / (ERROR_SECONDS + dt)) * (
                    abs(y - s[row, RECENT]) - s[row, SPREAD]
                )
                d, d_mass = read_at(day, day_mass, row, bins[t, 0], bins[t, 1], shares[t, 0])
                w, w_mass = read_at(week, week_mass, row, bins[t, 2], bins[t, 3], shares[t, 1])
                if w_mass > 0.25:
                    trust = w_mass / (w_mass + 1.0)
                    profile = trust * w + (1.0 - trust) * d if d_mass > 0.25 else w
                    s[row, LEVEL_ERROR] += dt / (LEVEL_SECONDS + dt) * (y - profile - s[row, LEVEL_ERROR])
                elif d_mass > 0.25:
                    s[row, LEVEL_ERROR] += dt / (LEVEL_SECONDS + dt) * (y - d - s[row, LEVEL_ERROR])
            hours = dt / 3600.0
            teach(day, day_mass, row, bins[t, 0], bins[t, 1], shares[t, 0], y, hours, VISITS_REMEMBERED)
            teach(week, week_mass, row, bins[t, 2], bins[t, 3], shares[t, 1], y, hours, VISITS_REMEMBERED)
            s[row, SAMPLES] = n + 1.0
            s[row, LAST_SECONDS] = now
            # New forecasts are made on a grid of the clock, so that batching does not matter.
            for h in range(n_leads):
                if late[t, h] < dt and n > 0.0:
                    k = turn[t, h] % PENDING
                    seasonal, recent = _candidates(
                        s, day, day_mass, week, week_mass, row, aims[h], aim_shares[h], t, fades[h]
                    )
                    pending[row, h, k, 0] = seasonal
                    pending[row, h, k, 1] = recent
                    pending_due[row, h, k] = now + leads[h]


@njit(cache=True, nogil=True)
def _predict(s, day, day_mass, week, week_mass, errors, leads, yhat, lower, upper):
    fades = np.exp(-leads / FADE_SECONDS)
    newest = other = 0.0
    for row in range(len(s)):
        newest = max(newest, s[row, LAST_SECONDS])
    of_newest = of_other = _places(newest + leads)
    for row in range(len(s)):
        if s[row, SAMPLES] < 2.0:
            continue
        last = s[row, LAST_SECONDS]
        if last != newest and last != other:  # Series that are absent now were last seen together, mostly.
            other, of_other = last, _places(last + leads)
        bins, shares = of_newest if last == newest else of_other
        for h in range(len(leads)):
            seasonal, recent = _candidates(s, day, day_mass, week, week_mass, row, bins, shares, h, fades[h])
            y = _mix(errors, row, h, seasonal, recent, s[row, SPREAD])
            yhat[h, row] = y
            if errors[row, h, N_ERRORS] >= 4.0:
                lower[h, row] = y - errors[row, h, Q_LOW]
                upper[h, row] = y + errors[row, h, Q_HIGH]


class SeasonalForecaster(RowArrays):
    """The forecaster `seasonal`; see the module's docstring. State 2.7 KB a series."""

    notes: tuple[str, ...] = ()

    def __init__(self, horizons_seconds: tuple[float, ...], step_seconds: float) -> None:
        n = len(horizons_seconds)
        super().__init__(
            {
                "scalars": ((5,), np.float64),
                "day": ((HOURS_OF_DAY,), np.float32),
                "day_mass": ((HOURS_OF_DAY,), np.float32),
                "week": ((HOURS_OF_WEEK,), np.float32),
                "week_mass": ((HOURS_OF_WEEK,), np.float32),
                "errors": ((n, 5), np.float64),
                "pending": ((n, PENDING, 2), np.float32),
                "pending_due": ((n, PENDING), np.float64),
            }
        )
        self.horizons_seconds = horizons_seconds
        self._leads = np.array(horizons_seconds, dtype=np.float64)
        self._every = np.maximum(self._leads / (PENDING - 1), step_seconds)

    def update(self, batch: SeriesBatch) -> None:
        """Learn the columns in order of time; see `Forecaster.update`."""
        if len(self._leads):
            _run(
                *self._arrays(),
                self._leads,
                self._every,
                batch.timestamps / 1000.0,
                np.ascontiguousarray(batch.values),
            )

    def work(self, seconds: float) -> int:
        """Nothing is left for later; see `Forecaster.work`."""
        return 0

    def coverage(self) -> dict[float, float]:
        """Not counted here; see `Forecaster.coverage`."""
        return {}

    def predict(self) -> tuple[Forecast, ...]:
        """One Forecast a horizon; see `Forecaster.predict`."""
        shape = (len(self._leads), self.n_rows)
        yhat, lower, upper = (np.full(shape, np.nan) for _ in range(3))
        arrays: dict[str, NDArray[Any]] = self.arrays
        _predict(
            arrays["scalars"],
            arrays["day"],
            arrays["day_mass"],
            arrays["week"],
            arrays["week_mass"],
            arrays["errors"],
            self._leads,
            yhat,
            lower,
            upper,
        )
        return tuple(
            Forecast(lead, yhat[h], lower[h], upper[h], LEVEL) for h, lead in enumerate(self.horizons_seconds)
        )
