"""Seasonal level with robust updates: three centres that compete on each series.

For every series a flat centre (fast robust mean), a daily and a weekly one
(profile plus recent level) predict each point; they are mixed by how well they
did so far, so a series without a season is not given one. The scale is the
robust mean distance on either side, by hour of day, with floors tied to the
series' own long-run spread and level.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from sidecar.engine.detect.calibrated import CalibratedDetector
from sidecar.engine.profile import HOURS_OF_DAY, HOURS_OF_WEEK, learn, of_both, read
from sidecar.series import FloatArray, TimeArray

WARM_UP_SAMPLES = 20
FLAT_SECONDS = 900.0  # Memory of the flat centre.
LEVEL_SECONDS = 3600.0  # Memory of the level above a profile.
LOSS_SECONDS = 2 * 86400.0  # Memory of the competition between centres.
SCALE_SECONDS = 2 * 86400.0  # Memory of the scale.
LONG_SECONDS = 7 * 86400.0  # Memory of the spread and level that set the floors.
NEW_NORMAL_SECONDS = 3600.0  # A shift that stays so long is the new normal.
CLIP_CENTRE = 6.0  # In scales: how far one point may pull a centre.
CLIP_SCALE = 20.0  # In scales: how much one spike may widen the scale.
HOPELESS = 3.0  # A centre whose loss is so many times the best one's is left out.
SPREAD_FLOOR = 0.05
LEVEL_FLOOR = 0.002

# Columns of the per-row scalar state.
FLAT, DAY_LEVEL, WEEK_LEVEL, LOSS_FLAT, LOSS_DAY, LOSS_WEEK = range(6)
UP, DOWN, N_UP, N_DOWN, LONG_MEAN, LONG_SQUARE = range(6, 12)
SAMPLES, LAST_SECONDS, OUTSIDE_SECONDS, OUTSIDE_SIDE = range(12, 16)
N_SCALARS = 16


@njit(cache=True, inline="always")
def _rate(dt: float, memory: float, n: float) -> float:
    """Learning rate of a mean: 1/n while young, then exponential with that memory in seconds."""
    return max(1.0 / (n + 1.0), dt / (memory + dt))


@njit(cache=True, inline="always")
def _centre(s, day, day_mass, week, week_mass, row, seconds):
    """The mixed centre, and the three it is mixed of (NaN where unknown)."""
    flat = s[row, FLAT]
    d, d_mass = read(day, day_mass, row, seconds, HOURS_OF_DAY)
    w, w_mass = read(week, week_mass, row, seconds, HOURS_OF_WEEK)
    daily = d + s[row, DAY_LEVEL] if d_mass > 0.25 else np.nan
    weekly = w + s[row, WEEK_LEVEL] if w_mass > 0.25 else np.nan
    floor = 1e-12 + 1e-3 * np.sqrt(s[row, LONG_SQUARE])
    loss_flat = s[row, LOSS_FLAT] + floor
    loss_day = s[row, LOSS_DAY] + floor if d_mass > 0.25 else np.inf
    loss_week = s[row, LOSS_WEEK] + floor if w_mass > 0.25 else np.inf
    # Weights fall with the fourth power of the loss; what is far worse than the best has no say.
    best = min(loss_flat, loss_day, loss_week)
    total = mixed = 0.0
    if loss_flat < HOPELESS * best:
        a = (best / loss_flat) ** 4
        total += a
        mixed += a * flat
    if loss_day < HOPELESS * best:
        b = (best / loss_day) ** 4
        total += b
        mixed += b * daily
    if loss_week < HOPELESS * best:
        c = (best / loss_week) ** 4
        total += c
        mixed += c * weekly
    return mixed / total, flat, daily, weekly


@njit(cache=True, inline="always")
def _scales(s, hour_scale, hour_mass, row, seconds):
    """Scale down and up at a time, floors included."""
    m, mass = read(hour_scale, hour_mass, row, seconds, HOURS_OF_DAY)
    factor = 1.0
    if mass > 0.0:
        trust = mass / (mass + 2.0)
        factor = min(max(1.0 + trust * (m - 1.0), 0.3), 4.0)
    floor = SPREAD_FLOOR * np.sqrt(s[row, LONG_SQUARE]) + LEVEL_FLOOR * abs(s[row, LONG_MEAN]) + 1e-9
    return max(s[row, DOWN] * factor, floor), max(s[row, UP] * factor, floor)


@njit(cache=True, nogil=True)
def _run(s, day, day_mass, week, week_mass, hour_scale, hour_mass, seconds, x, value, yhat, down, up):
    n_rows, n_steps = x.shape
    for row in range(n_rows):
        for t in range(n_steps):
            now = seconds[t]
            y = x[row, t]
            samples = s[row, SAMPLES]
            if samples > 0.0:
                centre, flat, daily, weekly = _centre(s, day, day_mass, week, week_mass, row, now)
                scale_down, scale_up = _scales(s, hour_scale, hour_mass, row, now)
                yhat[row, t] = centre
                if samples >= WARM_UP_SAMPLES:
                    down[row, t] = scale_down
                    up[row, t] = scale_up
            if not np.isfinite(y):
                continue
            if samples <= 0.0:
                s[row, FLAT] = y
                s[row, LONG_MEAN] = y
                s[row, SAMPLES] = 1.0
                s[row, LAST_SECONDS] = now
                learn(day, day_mass, row, now, HOURS_OF_DAY, y, 1e-3)
                learn(week, week_mass, row, now, HOURS_OF_WEEK, y, 1e-3)
                continue
            dt = min(max(now - s[row, LAST_SECONDS], 1e-3), 21600.0)
            error = y - centre
            scale = scale_up if error > 0.0 else scale_down
            distance = abs(error) / scale
            if samples >= WARM_UP_SAMPLES:
                value[row, t] = distance

            # A shift that stays on one side becomes the new normal after a stated time.
            side = 1.0 if error > 0.0 else -1.0
            if distance > CLIP_CENTRE and samples >= WARM_UP_SAMPLES and side * s[row, OUTSIDE_SIDE] >= 0.0:
                s[row, OUTSIDE_SECONDS] += dt
                s[row, OUTSIDE_SIDE] = side
            else:
                s[row, OUTSIDE_SECONDS] = 0.0
                s[row, OUTSIDE_SIDE] = 0.0
            shifted = s[row, OUTSIDE_SECONDS] > NEW_NORMAL_SECONDS
            reach = CLIP_CENTRE * scale
            if shifted or samples < WARM_UP_SAMPLES:
                reach = np.inf

            # Losses first (each centre as it stood), then the centres.
            loss_rate = _rate(dt, LOSS_SECONDS, samples)
            cap = 20.0 * scale if samples >= WARM_UP_SAMPLES else np.inf
            s[row, LOSS_FLAT] += loss_rate * (min(abs(y - flat), cap) - s[row, LOSS_FLAT])
            e = y - flat
            fast = 4.0 if shifted else 1.0
            s[row, FLAT] += _rate(dt * fast, FLAT_SECONDS, samples) * min(max(e, -reach), reach)
            hours = dt / 3600.0
            # A profile learns what its hour is like, its level what is left over; one point
            # pulls either no further than `reach` from what that very centre expected.
            day_value = week_value = y
            if np.isfinite(daily):
                e = y - daily
                s[row, LOSS_DAY] += loss_rate * (min(abs(e), cap) - s[row, LOSS_DAY])
                e = min(max(e, -reach), reach)
                s[row, DAY_LEVEL] += dt * fast / (LEVEL_SECONDS + dt * fast) * e
                day_value = daily + e
            else:
                s[row, LOSS_DAY] = s[row, LOSS_FLAT]
            if np.isfinite(weekly):
                e = y - weekly
                s[row, LOSS_WEEK] += loss_rate * (min(abs(e), cap) - s[row, LOSS_WEEK])
                e = min(max(e, -reach), reach)
                s[row, WEEK_LEVEL] += dt * fast / (LEVEL_SECONDS + dt * fast) * e
                week_value = weekly + e
            else:
                s[row, LOSS_WEEK] = s[row, LOSS_DAY] * 1.1
            learn(day, day_mass, row, now, HOURS_OF_DAY, day_value, hours)
            learn(week, week_mass, row, now, HOURS_OF_WEEK, week_value, hours)

            # The scale, on the side that was seen. The first few distances on a side teach
            # in full (a series that was constant must learn its first jumps), young rows
            # are kept from being blinded by one spike, and an exact hit says nothing of size.
            n_side = s[row, N_UP] if error > 0.0 else s[row, N_DOWN]
            clip = CLIP_SCALE if samples > 10.0 * WARM_UP_SAMPLES else CLIP_CENTRE
            size = abs(error)
            if samples >= WARM_UP_SAMPLES and n_side >= 5.0:
                size = min(size, clip * scale)
            unit = 0.0
            if error > 0.0:
                s[row, UP] += _rate(dt, SCALE_SECONDS, n_side) * (size - s[row, UP])
                s[row, N_UP] += 1.0
                unit = s[row, UP]
            elif error < 0.0:
                s[row, DOWN] += _rate(dt, SCALE_SECONDS, n_side) * (size - s[row, DOWN])
                s[row, N_DOWN] += 1.0
                unit = s[row, DOWN]
            if s[row, N_UP] == 0.0:
                s[row, UP] = s[row, DOWN]
            if s[row, N_DOWN] == 0.0:
                s[row, DOWN] = s[row, UP]
            if samples >= WARM_UP_SAMPLES and unit > 0.0:
                ratio = min(size / unit, 6.0)
                learn(hour_scale, hour_mass, row, now, HOURS_OF_DAY, ratio, hours)

            long_rate = _rate(dt, LONG_SECONDS, samples)
            off = y - s[row, LONG_MEAN]
            s[row, LONG_MEAN] += long_rate * off
            off = min(abs(off), max(cap, 30.0 * np.sqrt(s[row, LONG_SQUARE])))
            s[row, LONG_SQUARE] += long_rate * (off * off - s[row, LONG_SQUARE])
            s[row, SAMPLES] = samples + 1.0
            s[row, LAST_SECONDS] = now


@njit(cache=True, nogil=True)
def _expect(s, day, day_mass, week, week_mass, hour_scale, hour_mass, seconds, yhat, down, up):
    """The seasons alone: the levels of this moment and the flat centre say nothing of other hours."""
    n_rows, n_steps = yhat.shape
    for row in range(n_rows):
        if s[row, SAMPLES] <= 0.0:
            continue
        floor = 1e-12 + 1e-3 * np.sqrt(s[row, LONG_SQUARE])
        for t in range(n_steps):
            d, d_mass = read(day, day_mass, row, seconds[t], HOURS_OF_DAY)
            w, w_mass = read(week, week_mass, row, seconds[t], HOURS_OF_WEEK)
            centre = s[row, FLAT]
            if d_mass > 0.25 and w_mass > 0.25:
                centre = of_both(d, s[row, LOSS_DAY] + floor, w, s[row, LOSS_WEEK] + floor)
            elif d_mass > 0.25:
                centre = d
            elif w_mass > 0.25:
                centre = w
            scale_down, scale_up = _scales(s, hour_scale, hour_mass, row, seconds[t])
            yhat[row, t] = centre
            down[row, t] = scale_down
            up[row, t] = scale_up


class SeasonalDetector(CalibratedDetector):
    """The detector `seasonal`; see the module's docstring. State 1,952 bytes a series."""

    def __init__(self, budget_per_month: float, step_seconds: float) -> None:
        layout = {
            "scalars": ((N_SCALARS,), np.float64),
            "day": ((HOURS_OF_DAY,), np.float64),
            "day_mass": ((HOURS_OF_DAY,), np.float32),
            "week": ((HOURS_OF_WEEK,), np.float32),
            "week_mass": ((HOURS_OF_WEEK,), np.float32),
            "hour_scale": ((HOURS_OF_DAY,), np.float32),
            "hour_mass": ((HOURS_OF_DAY,), np.float32),
        }
        super().__init__(_run, layout, budget_per_month, step_seconds)

    def expect(self, timestamps: TimeArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Centre, scale down and up by season alone; see `Detector.expect`."""
        shape = (self.n_rows, len(timestamps))
        yhat, down, up = (np.full(shape, np.nan) for _ in range(3))
        _expect(*self._arrays(), timestamps / 1000.0, yhat, down, up)
        return yhat, down, up
