"""What a detector and a forecaster are: the seams at which more of them plug in."""

from __future__ import annotations

from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from sidecar.series import BoolArray, FloatArray, Forecast, RowArray, SeriesBatch, TimeArray

State = dict[str, NDArray[np.generic]]
"""Arrays by name; the first axis is the row wherever it has as many entries as there are rows."""


@dataclass(frozen=True, slots=True)
class Statistic:
    """What a detector says of each point before learning from it; all arrays (N, T).

    `value`: distance from the expected in units of the scale, >= 0, high is
    anomalous, NaN while nothing can be said. `yhat`: the centre. `scale_down`,
    `scale_up`: the unit on either side, so that a threshold q on `value` is the
    band `yhat - q * scale_down .. yhat + q * scale_up`.
    """

    value: FloatArray
    yhat: FloatArray
    scale_down: FloatArray
    scale_up: FloatArray


SideArray = NDArray[np.int8]
NO_SIDE, STANDS_STILL = 2, 3  # Of `sidecar.series.SHAPES`, where 1 and -1 are a drift.


@dataclass(frozen=True, slots=True)
class Judged:
    """What a calibrated detector says of each point; all arrays (N, T).

    `score`: >= 0, above 1 is anomalous, NaN while nothing can be said. `lower`,
    `upper`: the values that would not be flagged, NaN while nothing can be said.
    `shape`: where the course of the series is anomalous, whatever the value, which of
    `sidecar.series.SHAPES`, else 0; a flag there may lie inside the band. None: a detector that
    knows no shapes.
    `usual`: where the shape is a drift, the level that is usual at that time, else NaN. None: a detector
    that knows no drifts.
    `accepted`: rows, (N,), whose changed level was taken for the new normal.
    """

    score: FloatArray
    yhat: FloatArray
    lower: FloatArray
    upper: FloatArray
    shape: SideArray | None = None
    usual: FloatArray | None = None
    accepted: BoolArray | None = None


class Thresholds(Protocol):
    """What turns a detector's statistic into a score, by row; saved beside the detector."""

    n_rows: int

    def resize(self, n_rows: int) -> None:
        """Make room for so many rows."""
        ...

    def reset(self, rows: RowArray) -> None:
        """Forget what was learnt of these rows."""
        ...

    def thresholds(self) -> FloatArray:
        """The statistic at which a score is 1 now, shape (n_rows,)."""
        ...

    def renew_pool(self) -> None:
        """Let the rows that know themselves say what is usual for the query; on the hour."""
        ...

    def state(self) -> State:
        """All that was learnt, as arrays (not copies)."""
        ...

    def restore(self, state: State) -> Self:
        """Take what `state` once gave, arrays that nobody else uses. Raises: ModelError."""
        ...


class Detector(Protocol):
    """Judges each column before it learns from it, by thresholds that keep the false-alarm budget.

    Rows are stable: row i of one batch is row i of the next. Arrays given to it
    are never changed.
    """

    n_rows: int

    @property
    def calibrator(self) -> Thresholds:
        """Its thresholds; the model grows, saves and restores them beside it."""
        ...

    def resize(self, n_rows: int) -> None:
        """Make room for so many rows; new ones have seen nothing."""
        ...

    def reset(self, rows: RowArray) -> None:
        """Forget what was learnt of these rows: their series are gone."""
        ...

    def adopt(self, rows: RowArray, donors: RowArray, now_ms: int) -> None:
        """Let each of `rows` start with what its donor knows and how it is judged, but for its present."""
        ...

    def judge(self, batch: SeriesBatch) -> Judged:
        """Judge and learn the columns of `batch`, (n_rows, T), in order of time."""
        ...

    def expect(self, timestamps: TimeArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Centre, scale down, scale up at other times, each (n_rows, T), learning nothing.

        A threshold q is the band `yhat - q * down .. yhat + q * up`.
        """
        ...

    def state(self) -> State:
        """All that was learnt, as arrays (not copies)."""
        ...

    def restore(self, state: State) -> Self:
        """Take what `state` once gave, arrays that nobody else uses; shapes must fit the rows.

        Raises: ModelError.
        """
        ...


@runtime_checkable
class Settler(Protocol):
    """A detector that tells a new normal from an incident by how long it lasts, and can be told sooner."""

    def settle(self, rows: RowArray) -> None:
        """Where the next sample of `rows`, which there is, is unusual still, it is the new normal."""
        ...


@runtime_checkable
class WorksBeside(Protocol):
    """A detector part of whose work need not be done before a step is out."""

    def put_aside(self, trainer: Executor) -> None:
        """From now on do what is slow in `work`, and fit in `trainer`, which may be another process."""
        ...

    def work(self, seconds: float) -> int:
        """Do for about so long what was put aside; how many columns were served.

        Called between evaluations, never while another call runs; 0: nothing is left to do now.
        """
        ...


class Forecaster(Protocol):
    """Says what comes, at each of its horizons, with an interval that it corrects by its own errors."""

    n_rows: int
    horizons_seconds: tuple[float, ...]

    @property
    def notes(self) -> tuple[str, ...]:
        """What could not be taken over from a saved state, and why; empty where all was."""
        ...

    def resize(self, n_rows: int) -> None:
        """Make room for so many rows; new ones have seen nothing."""
        ...

    def reset(self, rows: RowArray) -> None:
        """Forget what was learnt of these rows."""
        ...

    def update(self, batch: SeriesBatch) -> None:
        """Learn the columns of `batch`, (n_rows, T), in order of time."""
        ...

    def predict(self) -> tuple[Forecast, ...]:
        """One Forecast a horizon, counted from the last column learnt."""
        ...

    def work(self, seconds: float) -> int:
        """Do for about so long what is too slow for every step; how many rows were served.

        Called between evaluations, never while another call runs; 0: nothing is left to do now.
        """
        ...

    def coverage(self) -> dict[float, float]:
        """Share of late forecasts whose interval held, by horizon in seconds; NaN while unknown."""
        ...

    def state(self) -> State:
        """All that was learnt, as arrays (not copies)."""
        ...

    def restore(self, state: State) -> Self:
        """Take what `state` once gave, arrays that nobody else uses.

        Raises: ModelError.
        """
        ...
