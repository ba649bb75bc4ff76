"""The series that one expression measures, and when each will be beyond the thresholds of its alert rules."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from sidecar.config.known import CalendarConfig, EventConfig
from sidecar.engine.arrays import measurements
from sidecar.engine.forecast.chosen import Blob, Chosen, packed, unpacked
from sidecar.engine.forecast.crossing import Threshold
from sidecar.engine.forecast.eta import MIN_SAMPLES, Crossing, Uplift, crossing, lead_steps, within_reach
from sidecar.engine.forecast.nature import NaturalSelection, nature_of
from sidecar.engine.forecast.pool import select
from sidecar.engine.index import GONE, SeriesIndex
from sidecar.engine.known import KnownEvents
from sidecar.engine.known_history import KnownSeries
from sidecar.errors import ModelError
from sidecar.series import FloatArray, LabelSet, SeriesBatch

RESELECT_SECONDS = 6 * 3600.0
POOL_SECONDS = 86400.0
LEVEL = 0.95
FRESH_STEPS = 2
"""A series whose newest sample is older is gone, and nothing is said of it."""

ROWS_PER_SERIES, LEAST_ROWS = 2, 64
"""Rows in all: so many for each series that lived at once within the last day. Where pods come and go
by the minute, those that are gone for longest are forgotten before their day is over.
"""


@dataclass
class _Known:
    """What was worked out for one row."""

    made_at_ms: int = 0
    chosen: Chosen | None = None
    crossings: list[Crossing] = field(default_factory=list)


class WatchedSeries:
    """Coarse history of the series of one expression, on a grid of `step_seconds`, and its forecasts.

    `notes` says why saved selections could not be taken over.
    """

    def __init__(
        self,
        *,
        step_seconds: float,
        history_seconds: float,
        horizon_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._thresholds: tuple[Threshold, ...] = ()
        self._step = step_seconds
        self._n_steps = max(round(history_seconds / step_seconds), MIN_SAMPLES)
        self._horizon = horizon_seconds
        self._clock = clock
        self._index = SeriesIndex(step_seconds)
        self._times = np.empty(0, dtype=np.int64)
        self._values = np.empty((0, 0), dtype=np.float32)
        # In single precision 9 of 10 lie below 0.9: what a series is now is compared as it is.
        self._newest = np.empty(0)
        self._known: dict[int, _Known] = {}
        self._events: Sequence[EventConfig] = ()
        self._calendar: CalendarConfig | None = None
        self._known_events = KnownEvents("")
        self._anything_known = False
        self.notes: tuple[str, ...] = ()

    @property
    def last_ms(self) -> int | None:
        """Time of the newest column; None before the first."""
        return int(self._times[-1]) if len(self._times) else None

    @property
    def _pool_steps(self) -> int:
        """So far ahead the pool forecasts."""
        return max(round(min(self._horizon, POOL_SECONDS) / self._step), 1)

    @property
    def n_series(self) -> int:
        """Series known now."""
        return self._index.n_series

    def take(self, batch: SeriesBatch) -> None:
        """Columns newer than the last one, on the grid; what is older than the history is dropped."""
        last = self.last_ms
        new = batch.timestamps > last if last is not None else np.ones(batch.n_steps, dtype=np.bool_)
        if not new.any():
            return
        values = measurements(batch.values[:, new])
        batch = SeriesBatch(batch.query, batch.labels, batch.timestamps[new], values)
        aligned = self._index.align(self._of_the_last_day(batch))
        self._times = np.concatenate([self._times, aligned.timestamps])[-self._n_steps :]
        values = np.full((self._index.n_rows, len(self._times)), np.nan, dtype=np.float32)
        n_new = min(aligned.n_steps, len(self._times))
        values[:, -n_new:] = aligned.values[:, -n_new:]
        n_old = len(self._times) - n_new
        if n_old:
            values[: len(self._values), :n_old] = self._values[:, -n_old:]
        self._values = values
        self._newest = _newest_of(aligned.values, self._newest)
        for row in self._index.retire(int(self._times[-1])).tolist():
            self._values[row] = np.nan
            self._known.pop(row, None)
        self._let_go()

    @property
    def _remembered_steps(self) -> int:
        """So long a series that is gone is remembered: it may only have paused."""
        return max(round(self._index.retire_after_ms / 1000 / self._step), 1)

    def _of_the_last_day(self, batch: SeriesBatch) -> SeriesBatch:
        """The batch without series that are known no more by its end: they need no row at all."""
        steps = self._remembered_steps
        if batch.n_steps <= steps:
            return batch
        rows = np.flatnonzero(np.isfinite(batch.values[:, -steps:]).any(axis=1))
        labels = tuple(batch.labels[row] for row in rows.tolist())
        return SeriesBatch(batch.query, labels, batch.timestamps, batch.values[rows])

    def _let_go(self) -> None:
        """Forget what is gone for longest, where more is remembered than `ROWS_PER_SERIES` allows."""
        at_once = int(np.isfinite(self._values[:, -self._remembered_steps :]).sum(axis=0).max(initial=0))
        most = ROWS_PER_SERIES * max(at_once, LEAST_ROWS // ROWS_PER_SERIES)
        if self._index.n_rows <= most:
            return
        # Some room is left for those to come: not each new series shall move all others.
        newest_first = np.argsort(-self._index.last_seen_ms, kind="stable")[: max(most * 3 // 4, at_once)]
        kept = np.sort(newest_first[self._index.last_seen_ms[newest_first] > 0])
        labels = tuple(self._index.labels[row] for row in kept.tolist())
        self._index.restore(labels, self._index.last_seen_ms[kept])
        self._values, self._newest = self._values[kept], self._newest[kept]
        self._known = {at: self._known[row] for at, row in enumerate(kept.tolist()) if row in self._known}

    def watch(self, thresholds: Sequence[Threshold]) -> None:
        """From now on forecast when these are crossed."""
        if tuple(thresholds) != self._thresholds:
            self._thresholds = tuple(thresholds)
            for known in self._known.values():
                known.made_at_ms, known.crossings = 0, []

    def announce(self, events: Sequence[EventConfig], calendar: CalendarConfig | None) -> None:
        """From now on these are known of the series."""
        self._events, self._calendar = events, calendar
        self._known_events = KnownEvents("")
        self._known_events.announce(events, calendar)

    def work(self, seconds: float) -> int:
        """Renew what is oldest for about so long; how many rows are still not up to date."""
        until = self._clock() + seconds
        now = self.last_ms
        if now is None:
            return 0
        future = now + lead_steps(self._step, self._horizon) * round(self._step * 1000)
        known = self._known_events
        self._anything_known = known.holds(future) or bool(known.during(self._times).any())
        due = [row for row in self._alive() if self._known.setdefault(row, _Known()).made_at_ms < now]
        due.sort(key=lambda row: self._known[row].made_at_ms)
        for done, row in enumerate(due):
            if done and self._clock() >= until:
                return len(due) - done
            self._renew(self._known[row], row, now)
        return 0

    def crossings(self) -> list[tuple[LabelSet, int, Crossing]]:
        """What was worked out last of each series that is alive: labels, which threshold, when."""
        return [
            (self._index.labels[row], n, found)
            for row in self._alive()
            if row in self._known
            for n, found in enumerate(self._known[row].crossings)
        ]

    def _alive(self) -> list[int]:
        fresh = self._values[:, -FRESH_STEPS:]
        seen = np.isfinite(fresh).any(axis=1)
        return [row for row in np.flatnonzero(seen).tolist() if self._index.labels[row] is not GONE]

    def _renew(self, known: _Known, row: int, now_ms: int) -> None:
        known.made_at_ms, known.crossings = now_ms, []
        grid = self._grid(row)
        if np.isfinite(grid).sum() < MIN_SAMPLES:
            return
        newest = float(self._newest[row])
        grid, uplift = self._without_known(row, grid)
        moves = np.nanmin(grid) < np.nanmax(grid)
        reachable = [moves and within_reach(grid, threshold, uplift) for threshold in self._thresholds]
        chosen = known.chosen
        if any(reachable) and (chosen is None or now_ms - chosen.made_at >= RESELECT_SECONDS * 1000):
            selection = select(nature_of(grid).grid, self._step, self._pool_steps, LEVEL)
            chosen = Chosen(selection, now_ms, np.empty(0))
            known.chosen = chosen
        known.crossings = [
            crossing(
                grid,
                self._step,
                threshold,
                horizon_seconds=self._horizon,
                ahead=NaturalSelection(chosen.selection) if reach and chosen is not None else None,
                newest=newest,
                uplift=uplift,
            )
            for threshold, reach in zip(self._thresholds, reachable, strict=True)
        ]

    def _without_known(self, row: int, grid: FloatArray) -> tuple[FloatArray, Uplift | None]:
        """The row without events, and what is known of the time ahead."""
        if not self._anything_known:
            return grid, None
        step_ms = round(self._step * 1000)
        last_ms = self._last_ms(row)
        times = last_ms + (np.arange(len(grid), dtype=np.int64) + 1 - len(grid)) * step_ms
        series = KnownSeries(self._index.labels[row], self._events, self._calendar)
        grid = series.without_events(times, grid)
        future = last_ms + lead_steps(self._step, self._horizon) * step_ms
        found = series.ahead(times, grid, future)
        return grid, None if found is None else Uplift(found.centre[0], found.least[0], found.most[0])

    def _last_ms(self, row: int) -> int:
        return int(self._times[np.flatnonzero(np.isfinite(self._values[row]))[-1]])

    def _grid(self, row: int) -> FloatArray:
        """The row from its first to its last sample; the steps of the columns are equal."""
        values = self._values[row].astype(np.float64)
        seen = np.flatnonzero(np.isfinite(values))
        return values[seen[0] : seen[-1] + 1] if len(seen) else values[:0]

    def state(self) -> tuple[tuple[LabelSet, ...], dict[str, NDArray[Any]]]:
        """Labels of the rows and arrays, ready for `restore`."""
        arrays: dict[str, NDArray[Any]] = {
            "last_seen_ms": self._index.last_seen_ms,
            "times": self._times,
            "values": self._values,
            "newest": self._newest,
            "selections": packed({row: k.chosen for row, k in self._known.items() if k.chosen is not None}),
        }
        return self._index.labels, arrays

    def restore(self, labels: tuple[LabelSet, ...], arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Take what `state` once gave; selections of other versions or horizons are made anew.

        Raises: ModelError where the arrays do not fit each other.
        """
        last_seen, times, values = arrays["last_seen_ms"], arrays["times"], arrays["values"]
        if values.shape != (len(labels), len(times)) or last_seen.shape != (len(labels),):
            raise ModelError("the saved history's labels, times and values differ in number")
        self._index.restore(labels, last_seen)
        self._times, self._values = times.astype(np.int64), values.astype(np.float32)
        newest = arrays.get("newest")  # Histories of before have none.
        if newest is None or newest.shape != (len(labels),):
            newest = _newest_of(self._values.astype(np.float64), np.full(len(labels), np.nan))
        self._newest = newest
        self._take_over(arrays.get("selections"))
        return self

    def _take_over(self, saved: Blob | None) -> None:
        self._known, self.notes = {}, ()
        if saved is None:
            return
        try:
            found = unpacked(saved, step_seconds=self._step, horizon=self._pool_steps, level=LEVEL)
        except ModelError as error:
            self.notes = (f"selecting anew: {error}",)
            return
        self._known = {row: _Known(chosen=one) for row, one in found.items() if row < self._index.n_rows}


def _newest_of(values: FloatArray, before: FloatArray) -> FloatArray:
    """The newest sample of each row, (n_rows,): the last of `values` (n_rows, T), or the one `before`."""
    newest = np.full(len(values), np.nan)
    newest[: len(before)] = before
    present = np.isfinite(values)
    rows = np.flatnonzero(present.any(axis=1))
    last = values.shape[1] - 1 - present[rows, ::-1].argmax(axis=1)
    newest[rows] = values[rows, last]
    return newest
