"""The pool, live: selected and refreshed by a worker between evaluations, looked up at each of them.

Every row has the online forecaster `seasonal`, and keeps two weeks of history
on a grid; the more rows there are, the coarser, so that all fit the bound on
memory. `work` takes a slice of time to select rules for those rows and to renew
their trajectories; `predict` interpolates in these, corrects the widths by how
often intervals held of late, and leans on whichever forecaster was nearer.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Self

import numpy as np
from numba import njit
from numpy.typing import NDArray

from sidecar.engine.arrays import RowArrays
from sidecar.engine.forecast.backtest import pick_leads
from sidecar.engine.forecast.chosen import Blob, Chosen, packed, unpacked
from sidecar.engine.forecast.limits import SeenLimits
from sidecar.engine.forecast.nature import nature_of
from sidecar.engine.forecast.pool import select
from sidecar.engine.forecast.seasonal import LEVEL, SeasonalForecaster
from sidecar.engine.forecast.slots import coarser_ring, first_slot, next_slot, record
from sidecar.errors import ModelError
from sidecar.series import FloatArray, Forecast, RowArray, SeriesBatch

HISTORY_BYTES = 32 * 2**20
"""Bound on the history of one query; its slots grow before rows are left to `seasonal` alone."""
HISTORY_DAYS = 14.0
TRAJECTORY_POINTS = 48
RESELECT_SECONDS = 6 * 3600.0
DRIFT_SECONDS = 3600.0
DRIFT_WIDTH = 1.5
"""A row whose interval at some horizon had to grow by so much (on the logarithm, about six misses in a
row) since its rules were selected is selected anew after an hour already."""
MIN_POINTS = 48
PENDING = 8
ADAPT = 0.03
"""Step of adaptive conformal inference, on the logarithm of the width."""
COVERAGE_MEMORY = 2000.0
"""Over about so many settled forecasts coverage is told."""
ERROR_MEMORY = 40.0
TRUST_POWER = 8.0

DUE, ACTUAL_LOW, ACTUAL_HIGH, POOLED, SEASONAL = range(5)
OFF_POOLED, OFF_SEASONAL, LOG_WIDTH, SETTLED = range(4)


@njit(cache=True, nogil=True)
def _settle(pending, learned, hits, values, seconds, step):
    """Compare forecasts whose time has come with what came; widths and trust learn."""
    n_rows, n_leads, n_pending, _ = pending.shape
    for row in range(n_rows):
        for t in range(len(seconds)):
            y = values[row, t]
            if not np.isfinite(y):
                continue
            now = seconds[t]
            for h in range(n_leads):
                for k in range(n_pending):
                    due = pending[row, h, k, DUE]
                    if due <= 0.0 or due > now:
                        continue
                    pending[row, h, k, DUE] = 0.0
                    if now - due > max(2.0 * step, 60.0):
                        continue  # A gap lay there.
                    p = pending[row, h, k]
                    inside = p[ACTUAL_LOW] <= y <= p[ACTUAL_HIGH]
                    hits[h, 1] += 1.0
                    if inside:
                        hits[h, 0] += 1.0
                    if hits[h, 1] > COVERAGE_MEMORY:
                        hits[h] *= 0.5
                    u = learned[row, h]
                    missed = 0.0 if inside else 1.0
                    u[LOG_WIDTH] += ADAPT * (missed - (1.0 - LEVEL)) / (1.0 - LEVEL) * 0.5
                    u[LOG_WIDTH] = min(max(u[LOG_WIDTH], -1.0), 2.0)
                    u[SETTLED] += 1.0
                    rate = max(1.0 / u[SETTLED], 1.0 / ERROR_MEMORY)
                    u[OFF_POOLED] += rate * (abs(y - p[POOLED]) - u[OFF_POOLED])
                    u[OFF_SEASONAL] += rate * (abs(y - p[SEASONAL]) - u[OFF_SEASONAL])


@njit(cache=True, nogil=True)
def _look_up(trajectory, made_at, origin, points, now, leads, slot_seconds, out):
    """Trajectories read at `now` + lead; NaN where there is none, or it does not reach so far."""
    for row in range(len(trajectory)):
        for h in range(len(leads)):
            for side in range(3):
                out[side, h, row] = np.nan
            if made_at[row] <= 0.0:
                continue
            ahead = (now + leads[h] - made_at[row]) / slot_seconds
            # A little beyond the end is the end; far beyond, the trajectory is too old.
            if ahead <= 0.0 or ahead > points[-1] * 1.1 + 1.0:
                continue
            for side in range(3):
                out[side, h, row] = origin[row] + np.interp(ahead, points, trajectory[row, side])


class PoolForecaster:
    """The forecaster `pool`; see the module's docstring.

    `slot_seconds`: grid of the history, grows with the number of rows.
    """

    def __init__(
        self,
        horizons_seconds: tuple[float, ...],
        step_seconds: float,
        *,
        history_bytes: int = HISTORY_BYTES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.n_rows = 0
        self.horizons_seconds = horizons_seconds
        self.seasonal = SeasonalForecaster(horizons_seconds, step_seconds)
        self._limits = SeenLimits()
        self._step = step_seconds
        self._clock = clock
        self._leads = np.array(horizons_seconds, dtype=np.float64)
        self._furthest = max(horizons_seconds, default=0.0)
        self._history_bytes = history_bytes
        self._use_slots(first_slot(step_seconds, self._furthest))
        n = len(horizons_seconds)
        self._hits = np.zeros((n, 2))
        self._issued_at = np.zeros(n)
        self._now = 0.0
        self._chosen: dict[int, Chosen] = {}
        self.notes: tuple[str, ...] = ()

    def _use_slots(self, slot_seconds: float) -> None:
        """Arrays for a grid of such slots, with no rows yet."""
        self.slot_seconds = slot_seconds
        self._ahead = max(round(self._furthest / slot_seconds), 1)
        n_slots = round(max(HISTORY_DAYS * 86400.0, 4 * self._furthest) / slot_seconds)
        self.max_rows = max(self._history_bytes // (4 * n_slots), 1) if self.horizons_seconds else 0
        self._points = pick_leads(self._ahead, TRAJECTORY_POINTS).astype(np.float64)
        n = len(self.horizons_seconds)
        self._pool = RowArrays(
            {
                "history": ((n_slots,), np.float32),
                "origin": ((), np.float64),
                "samples": ((), np.int64),
                "newest_slot": ((), np.int64),
                "trajectory": ((3, len(self._points)), np.float32),
                "made_at": ((), np.float64),
                "pending": ((n, PENDING, 5), np.float64),
                "learned": ((n, 4), np.float64),
            }
        )

    def _coarsen(self, slot_seconds: float) -> None:
        """Go on with longer slots; trajectories are made anew, what was learnt of errors stays."""
        old, factor = self._pool, round(slot_seconds / self.slot_seconds)
        self._use_slots(slot_seconds)
        self._pool.resize(old.n_rows)
        a, b = self._pool.arrays, old.arrays
        a["history"][:] = coarser_ring(b["history"], b["newest_slot"], factor, a["history"].shape[1])
        a["newest_slot"][:] = b["newest_slot"] // factor
        for name in ("origin", "samples", "pending", "learned"):
            a[name][:] = b[name]
        self._chosen = {}

    def resize(self, n_rows: int) -> None:
        """Make room for so many rows; see `Forecaster.resize`."""
        while n_rows > self.max_rows and (slot := next_slot(self.slot_seconds, self._furthest)):
            self._coarsen(slot)
        self.seasonal.resize(n_rows)
        self._limits.resize(n_rows)
        self.n_rows = self.seasonal.n_rows
        self._pool.resize(min(n_rows, self.max_rows))

    def reset(self, rows: RowArray) -> None:
        """Forget what was learnt of these rows."""
        self.seasonal.reset(rows)
        self._limits.reset(rows)
        rows = rows[rows < self._pool.n_rows]
        self._pool.reset(rows)
        for row in rows.tolist():
            self._chosen.pop(row, None)

    def update(self, batch: SeriesBatch) -> None:
        """Learn the columns in order of time; see `Forecaster.update`."""
        batch = replace(batch, values=self._limits.update(batch.values))
        self.seasonal.update(batch)
        if not self._pool.n_rows or not batch.n_steps:
            return
        a = self._pool.arrays
        values = np.ascontiguousarray(batch.values[: self._pool.n_rows])
        seconds = batch.timestamps / 1000.0
        _settle(a["pending"], a["learned"], self._hits, values, seconds, self._step)
        record(
            a["history"],
            a["trajectory"],
            a["origin"],
            a["samples"],
            a["newest_slot"],
            values,
            seconds,
            self.slot_seconds,
        )
        self._now = float(seconds[-1])

    def work(self, seconds: float) -> int:
        """Select and refresh rows that are due, for about so many seconds; how many rows were served.

        Rows without a trajectory come first, then those whose trajectory is oldest.
        """
        a = self._pool.arrays
        if not self._pool.n_rows:
            return 0
        until = self._clock() + seconds
        slot = int(self._now // self.slot_seconds)
        # The newest slot is still filling unless its time is over with this step.
        closed = slot if (self._now + self._step) // self.slot_seconds > slot else slot - 1
        last = self._now
        if closed < slot:
            last -= ((self._now - slot * self.slot_seconds) // self._step + 1) * self._step
        old = a["made_at"] < last - 0.5 * self.slot_seconds
        due = np.flatnonzero(old & (a["samples"] >= MIN_POINTS) & (a["newest_slot"] >= closed))
        served = 0
        for row in due[np.argsort(a["made_at"][due], kind="stable")].tolist():
            if self._clock() >= until and served:
                break
            served += self._serve(row, closed, last)
        return served

    def _serve(self, row: int, closed: int, last: float) -> bool:
        """Renew a row's trajectory from the slots up to `closed`, of time `last`; False: too few slots."""
        a = self._pool.arrays
        n_slots = a["history"].shape[1]
        grid = a["history"][row][np.arange(closed + 1 - n_slots, closed + 1) % n_slots].astype(np.float64)
        if a["newest_slot"][row] > closed:
            grid[0] = np.nan  # That slot's place is taken by the one that is filling.
        known = np.flatnonzero(np.isfinite(grid))
        if len(known) < MIN_POINTS or known[-1] < n_slots - 3:
            return False
        grid = grid[known[0] : known[-1] + 1] + a["origin"][row]
        if self._limits.never_negative(row):
            # Offsets in single precision bring a zero back as a little less.
            grid = np.maximum(grid, 0.0)
        made_at = last - (n_slots - 1 - known[-1]) * self.slot_seconds
        if np.nanmin(grid) == np.nanmax(grid):
            a["trajectory"][row] = grid[-1] - a["origin"][row]
            a["made_at"][row] = made_at
            return True
        nature = nature_of(grid)
        chosen = self._chosen.get(row)
        if chosen is None or self._outdated(row, chosen, closed):
            selection = select(nature.grid, self.slot_seconds, self._ahead, LEVEL)
            chosen = Chosen(selection, closed, a["learned"][row, :, LOG_WIDTH].copy())
            self._chosen[row] = chosen
        found = nature.told(chosen.selection.forecast(nature.grid))
        at = self._points.astype(np.int64) - 1
        for side, ends in enumerate((found.yhat, found.lower, found.upper)):
            a["trajectory"][row, side] = ends[at] - a["origin"][row]
        a["made_at"][row] = made_at
        return True

    def _outdated(self, row: int, chosen: Chosen, closed: int) -> bool:
        """Whether it was made long ago, or has missed so often since that another may be better."""
        age_seconds = (closed - chosen.made_at) * self.slot_seconds
        if age_seconds >= RESELECT_SECONDS:
            return True
        grown = self._pool.arrays["learned"][row, :, LOG_WIDTH] - chosen.width
        return age_seconds >= DRIFT_SECONDS and bool(grown.max() >= DRIFT_WIDTH)

    def predict(self) -> tuple[Forecast, ...]:
        """One Forecast a horizon; see `Forecaster.predict`."""
        forecasts = self.seasonal.predict()
        bounds = self._limits.bounds()
        for forecast in forecasts:
            for side in (forecast.yhat, forecast.lower, forecast.upper):
                np.clip(side, *bounds, out=side)
        n, a = self._pool.n_rows, self._pool.arrays
        if not n or not a["made_at"].any():
            return forecasts
        out = np.empty((3, len(self._leads), n))
        _look_up(
            a["trajectory"],
            a["made_at"],
            a["origin"],
            self._points,
            self._now,
            self._leads,
            self.slot_seconds,
            out,
        )
        for h, forecast in enumerate(forecasts):
            self._merge(h, forecast, out[:, h], bounds[0][:n], bounds[1][:n])
        return forecasts

    def _merge(
        self, h: int, forecast: Forecast, pooled: FloatArray, floor: FloatArray, ceiling: FloatArray
    ) -> None:
        """Mix the pool's rows into a forecast, in place; and remember it, to learn from when it is due."""
        n, a = self._pool.n_rows, self._pool.arrays
        learned = a["learned"][:, h]
        known = np.isfinite(pooled).all(axis=0)
        yhat = pooled[0]
        least = 1e-300 + 1e-9 * (learned[:, OFF_POOLED] + learned[:, OFF_SEASONAL])
        ours = 1.0 / (learned[:, OFF_POOLED] + least)
        other = 1.0 / (learned[:, OFF_SEASONAL] + least)
        share = 1.0 / (1.0 + (other / ours) ** TRUST_POWER)
        # Until a handful of both have come true, the back-tested one is trusted.
        share = np.where(learned[:, SETTLED] < 6, 1.0, share)
        base = forecast.yhat[:n].copy()
        share = np.where(np.isfinite(forecast.lower[:n]) & np.isfinite(base), share, 1.0)
        ends = [
            share * mine + (1.0 - share) * np.where(np.isfinite(side[:n]), side[:n], mine)
            for side, mine in zip((forecast.yhat, forecast.lower, forecast.upper), pooled, strict=True)
        ]
        width = np.exp(learned[:, LOG_WIDTH])
        ends[1] = ends[0] - width * (ends[0] - ends[1])
        ends[2] = ends[0] + width * (ends[2] - ends[0])
        for side, mixed in zip((forecast.yhat, forecast.lower, forecast.upper), ends, strict=True):
            side[:n] = np.where(known, np.clip(mixed, floor, ceiling), side[:n])
        every = max(self._leads[h] / (PENDING - 1), self._step)
        if self._now // every > self._issued_at[h] // every:
            self._issued_at[h] = self._now
            k = int(self._now // every) % PENDING
            pending = a["pending"][:, h, k]
            pending[:, DUE] = np.where(known, self._now + self._leads[h], 0.0)
            pending[:, ACTUAL_LOW], pending[:, ACTUAL_HIGH] = forecast.lower[:n], forecast.upper[:n]
            pending[:, POOLED], pending[:, SEASONAL] = yhat, np.where(np.isfinite(base), base, yhat)

    def coverage(self) -> dict[float, float]:
        """Share of the settled forecasts of late that held, by horizon in seconds; NaN before the first."""
        with np.errstate(invalid="ignore"):
            ratio = self._hits[:, 0] / self._hits[:, 1]
        return dict(zip(self.horizons_seconds, ratio.tolist(), strict=True))

    def state(self) -> dict[str, NDArray[Any]]:
        """All that was learnt, as arrays; of selections the newest, see `chosen.MOST_BYTES`."""
        state = {f"seasonal_{name}": array for name, array in self.seasonal.state().items()}
        state |= {f"pool_{name}": array for name, array in self._pool.state().items()}
        state |= {f"limits_{name}": array for name, array in self._limits.state().items()}
        return state | {
            "hits": self._hits,
            "issued_at": self._issued_at,
            "now": np.array([self._now]),
            "slot_seconds": np.array([self.slot_seconds]),
            "selections": packed(self._chosen),
        }

    def restore(self, state: dict[str, NDArray[Any]]) -> Self:
        """Take what `state` once gave; `notes` says why selections could not be taken over.

        Raises: ModelError where a name or a shape does not fit.
        """
        self._use_slots(float(state["slot_seconds"][0]))
        for part, prefix in ((self.seasonal, "seasonal_"), (self._pool, "pool_"), (self._limits, "limits_")):
            part.restore({k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)})
        n = len(self.horizons_seconds)
        if (
            self._pool.n_rows != min(self.seasonal.n_rows, self.max_rows)
            or state["hits"].shape != (n, 2)
            or state["issued_at"].shape != (n,)
            or state["now"].shape != (1,)
        ):
            raise ModelError("the pool's arrays do not fit its rows and horizons")
        self._hits, self._issued_at = state["hits"].copy(), state["issued_at"].copy()
        self._now = float(state["now"][0])
        self.n_rows = self.seasonal.n_rows
        self._take_over(state.get("selections"))
        return self

    def _take_over(self, saved: Blob | None) -> None:
        """Selections that were saved; without them trajectories serve until rows are selected anew."""
        self._chosen, self.notes = {}, ()
        try:
            if saved is None:
                raise ModelError("selections were not saved with the model")
            found = unpacked(saved, step_seconds=self.slot_seconds, horizon=self._ahead, level=LEVEL)
        except ModelError as error:
            self.notes = (f"selecting anew: {error}",)
            return
        n_leads = len(self.horizons_seconds)
        self._chosen = {
            row: one for row, one in found.items() if row < self._pool.n_rows and len(one.width) == n_leads
        }
