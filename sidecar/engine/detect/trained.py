"""Detectors that are trained: a model of windows for all series of a query, refitted on schedule and drift.

Fitting is a pure function from windows to arrays, so that it can run in another process while
judging goes on with the arrays of the fit before; until the first fit nothing is said.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import Any, Protocol, Self

import numpy as np
from numba import njit
from numpy.typing import NDArray

from sidecar.engine.detect.course import CourseDetector
from sidecar.engine.detect.windows import Samples, Windows
from sidecar.engine.protocols import Judged
from sidecar.errors import ModelError
from sidecar.series import FloatArray, RowArray, SeriesBatch

Fitted = dict[str, NDArray[Any]]
"""What a fit gave: arrays by name; `quality` tells how good it is, by the model's own measures."""

FIRST_FIT = 64
"""Columns before the first fit; the next come after four times as many each, then once a day."""

LEAST_PERIOD = 2048
BANK = 2048
"""Windows that a fit may learn from, the newest."""

BANKED_ROWS = 32
"""Of a column at most so many windows are kept to learn from, in turn of the rows."""

LEAST_WINDOWS = 24
JITTER = 0.02  # In deviations of a feature.
CHUNK = 64
"""Columns judged together at most; drift is looked at after so many."""

MOST_POINTS = 65_536
"""So many windows are looked at together at most, for the memory that they take."""

DRIFT = 1.0
"""Mean excess of the score, in deviations at the fit, over a chunk that counts as drift."""

MEMORY = 2000.0  # Points after which what is usual for a row is forgotten.
TEACHES = 4.0

POINTS, USUAL, SPREAD = range(3)


class WindowModel(Protocol):
    """A model of windows: what is learnt is in the arrays that `fit` gives."""

    @property
    def measures(self) -> tuple[str, ...]:
        """Names of what `quality` holds."""
        ...

    @property
    def trainable(self) -> bool:
        """Whether what `fit` needs is installed."""
        ...

    def fit(self, windows: FloatArray, seed: int) -> Fitted:
        """Learn from windows, (n, F), finite. Slow; it may run in another process."""
        ...

    def score(self, fitted: Fitted, windows: FloatArray) -> FloatArray:
        """How unusual each window is, (n,), any scale, high is unusual."""
        ...

    def check(self, fitted: Fitted, n_features: int) -> None:
        """Whether these arrays are what a fit to windows of so many features gives.

        Compiled loops do not check bounds: a damaged file would read foreign memory. Raises: ModelError.
        """
        ...


def need(fitted: Fitted, **last_axes: tuple[int, int | None]) -> None:
    """Whether arrays of these names are there, each with so many axes, the last of that size (None: any).

    Raises: ModelError.
    """
    for name, (n_axes, size) in last_axes.items():
        array = fitted.get(name)
        if array is None or array.ndim != n_axes or size not in (None, array.shape[-1]):
            raise ModelError(f"state's fit lacks {name!r}, or it is of another shape")


@dataclass(frozen=True)
class Fit:
    """A model's arrays, and the mean and mean deviation of its scores on what it was fitted on."""

    arrays: Fitted
    mean: float
    deviation: float


def fit(model: WindowModel, windows: FloatArray, seed: int) -> Fit:
    """Learn, and see what scores are usual; without the windows that are furthest from all.

    A little noise keeps series that repeat themselves from being the same window many times.
    """
    size = np.sqrt((windows**2).sum(axis=1))
    kept = windows[size <= np.quantile(size, 0.99)]
    kept = kept + np.random.default_rng(seed).normal(0.0, JITTER, kept.shape)
    with warnings.catch_warnings():
        # A mixture or mini-batches that do not settle are judged by how they do, as all others are.
        warnings.simplefilter("ignore")
        arrays = model.fit(kept, seed)
    scores = model.score(arrays, kept)
    mean = float(scores.mean())
    return Fit(arrays, mean, max(float(np.abs(scores - mean).mean()), 1e-6))


@njit(cache=True, nogil=True)
def _standardise(usual, raw, value):
    """How far each score is above what is usual for its row, in mean deviations, learning it."""
    for row in range(raw.shape[0]):
        for t in range(raw.shape[1]):
            s = raw[row, t]
            if not np.isfinite(s):
                continue
            n = usual[row, POINTS]
            unit = max(usual[row, SPREAD], 0.25)
            if n == 0.0:
                usual[row, USUAL], usual[row, SPREAD] = 0.0, 1.0
            value[row, t] = max(s - usual[row, USUAL], 0.0) / unit
            s = min(max(s, usual[row, USUAL] - TEACHES * unit), usual[row, USUAL] + TEACHES * unit)
            pace = max(1.0 / (n + 12.0), 1.0 / MEMORY)
            usual[row, USUAL] += pace * (s - usual[row, USUAL])
            usual[row, SPREAD] += pace * (abs(s - usual[row, USUAL]) - usual[row, SPREAD])
            usual[row, POINTS] = n + 1.0


class TrainedDetector(CourseDetector[Fit]):
    """A `WindowModel` behind the protocol of a detector; thresholds by peaks over threshold.

    With no `trainer` fits are made when they are due, so that the same columns give the same
    answers. State 24 bytes a series beside its windows', and the bank.
    """

    def __init__(
        self,
        model: WindowModel,
        budget_per_month: float,
        step_seconds: float,
        *,
        windows: Windows | Samples | None = None,
        seed: int = 7,
    ) -> None:
        super().__init__({"usual_score": ((3,), np.float64)}, budget_per_month, step_seconds)
        self.model = model
        self.windows = Windows() if windows is None else windows
        self.n_fits = 0
        self._seed = seed
        self._period = max(round(86400 / step_seconds), LEAST_PERIOD)
        self._fit: Fit | None = None
        self._bank = np.zeros((BANK, self.windows.n_features))
        self._n_banked = self._n_columns = 0
        self._due = FIRST_FIT
        self._excess = 0.0
        self._fitted_at = 0

    @property
    def quality(self) -> dict[str, float]:
        """What the model says of its last fit, by measure; empty before the first."""
        found = self._fit.arrays.get("quality", ()) if self._fit else ()
        return dict(zip(self.model.measures, map(float, found), strict=False))

    def resize(self, n_rows: int) -> None:
        """Make room for so many rows."""
        super().resize(n_rows)
        self.windows.resize(n_rows)

    def reset(self, rows: RowArray) -> None:
        """Forget what was learnt of these rows alone; the model is of all."""
        super().reset(rows)
        self.windows.reset(rows)

    def adopt(self, rows: RowArray, donors: RowArray, now_ms: int) -> None:
        """Take all that the donors know, thresholds included; see `Detector.adopt`."""
        super().adopt(rows, donors, now_ms)
        self.windows.copy_rows(rows, donors)

    def judge(self, batch: SeriesBatch) -> Judged:
        """Judge and learn the columns in order of time; see `Detector.judge`."""
        value, level = np.full(batch.values.shape, np.nan), np.full(batch.values.shape, np.nan)
        first, most = 0, max(MOST_POINTS // max(batch.n_series, 1), 1)
        while first < batch.n_steps:
            # Cut by columns counted, not by batches: so the answers do not depend on these.
            room = min(CHUNK - self._n_columns % CHUNK, self._due - self._n_columns, most)
            end = min(first + max(room, 1), batch.n_steps)
            part = replace(batch, timestamps=batch.timestamps[first:end], values=batch.values[:, first:end])
            value[:, first:end], level[:, first:end] = self._statistic(part)
            first = end
        return self._judged(batch.timestamps, value, level)

    def _statistic(self, part: SeriesBatch) -> tuple[FloatArray, FloatArray]:
        arrived = self._arrived()
        if arrived is not None:
            self._fit = arrived
            self.n_fits += 1
        features, level = self.windows.features(part)
        value, raw = np.full(level.shape, np.nan), np.full(level.shape, np.nan)
        # Of what is hardly a number features may overflow; one window of them would spoil a fit for all.
        ready = np.asarray(np.isfinite(features).all(axis=2))
        if self._fit is not None and ready.any():
            found = self._fit
            raw[ready] = (self.model.score(found.arrays, features[ready]) - found.mean) / found.deviation
            _standardise(self.arrays["usual_score"], raw, value)
        for t in range(part.n_steps):
            self._bank_column(features[:, t], ready[:, t])
            seen = raw[np.isfinite(raw[:, t]), t]
            self._excess += float(np.clip(seen, -TEACHES, TEACHES).mean()) if len(seen) else 0.0
        if self._n_columns % CHUNK == 0:
            self._look_for_drift()
        if self._n_columns >= self._due:
            self._begin_fit()
        return value, level

    def _look_for_drift(self) -> None:
        """Fit before its time where scores stay higher than they were on what was fitted."""
        if self._excess / CHUNK > DRIFT:
            self._due = min(self._due, max(self._n_columns, self._fitted_at + self._period // 4))
        self._excess = 0.0

    def _bank_column(self, features: FloatArray, ready: NDArray[np.bool_]) -> None:
        rows = np.flatnonzero(ready)
        if len(rows) > BANKED_ROWS:
            rows = rows[(self._n_columns * BANKED_ROWS + np.arange(BANKED_ROWS)) % len(rows)]
        places = (self._n_banked + np.arange(len(rows))) % BANK
        self._bank[places] = features[rows]
        self._n_banked += len(rows)
        self._n_columns += 1

    def _begin_fit(self) -> None:
        if self._coming is not None:
            # While a past is read thousands of columns pass meanwhile.
            self._due = self._n_columns + FIRST_FIT
            return
        self._due = self._n_columns + min(3 * self._n_columns, self._period)
        self._fitted_at = self._n_columns
        if self._n_banked < LEAST_WINDOWS or not self.model.trainable:
            return
        windows = self._bank[: min(self._n_banked, BANK)].copy()
        if self.trainer is None:
            self._fit = fit(self.model, windows, self._seed)
            self.n_fits += 1
        else:
            self._coming = self.trainer.submit(fit, self.model, windows, self._seed)

    def state(self) -> dict[str, NDArray[Any]]:
        """The rows' arrays, the bank, and the fit."""
        due = self._due if self._coming is None else self._n_columns  # Who restores this has no fit to come.
        counts = [self._n_columns, self._n_banked, due, self._fitted_at, self.n_fits]
        state = super().state() | {f"windows.{name}": array for name, array in self.windows.state().items()}
        state |= {"bank": self._bank, "counts": np.array(counts), "excess": np.array([self._excess])}
        if self._fit is not None:
            state["fit"] = np.array([self._fit.mean, self._fit.deviation])
            state |= {f"model.{name}": array for name, array in self._fit.arrays.items()}
        return state

    def restore(self, state: dict[str, NDArray[Any]]) -> Self:
        """Take what `state` once gave. Raises: ModelError."""
        rest = dict(state)
        bank, counts, excess = (rest.pop(name, np.empty(0)) for name in ("bank", "counts", "excess"))
        if bank.shape != self._bank.shape or counts.shape != (5,) or excess.shape != (1,):
            raise ModelError("state lacks the bank of windows")
        arrays = {name.removeprefix("model."): rest.pop(name) for name in state if name.startswith("model.")}
        windows = {
            name.removeprefix("windows."): rest.pop(name) for name in state if name.startswith("windows.")
        }
        usual = rest.pop("fit", None)
        if usual is not None:
            self.model.check(arrays, self.windows.n_features)
            self._fit = Fit(arrays, float(usual[0]), float(usual[1]))
        super().restore(rest)
        self.windows.restore(windows)
        self._bank = np.array(bank)
        self._n_columns, self._n_banked, self._due, self._fitted_at, self.n_fits = (int(n) for n in counts)
        self._excess = float(excess[0])
        return self
