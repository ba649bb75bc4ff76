"""Near and far horizons, each on a grid of its own: minutes for the next day, hours for the weeks beyond."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

from numpy.typing import NDArray

from sidecar.engine.forecast.live import PoolForecaster
from sidecar.series import Forecast, RowArray, SeriesBatch

NEAR_SECONDS = 86400.0
"""Horizons up to this share the fine grid."""


class SpanForecaster:
    """The forecaster `pool`: one live pool for horizons up to a day, another for those beyond."""

    def __init__(self, horizons_seconds: tuple[float, ...], step_seconds: float) -> None:
        self.horizons_seconds = horizons_seconds
        near = tuple(h for h in horizons_seconds if h <= NEAR_SECONDS)
        far = tuple(h for h in horizons_seconds if h > NEAR_SECONDS)
        self.near = PoolForecaster(near, step_seconds)
        self.far = PoolForecaster(far, step_seconds) if far else None
        self.n_rows = 0

    @property
    def _parts(self) -> Sequence[tuple[str, PoolForecaster]]:
        return [("near_", self.near)] + ([("far_", self.far)] if self.far else [])

    @property
    def notes(self) -> tuple[str, ...]:
        """What either part could not take over; see `Forecaster.notes`."""
        return tuple(note for _, part in self._parts for note in part.notes)

    def resize(self, n_rows: int) -> None:
        """Make room for so many rows; see `Forecaster.resize`."""
        for _, part in self._parts:
            part.resize(n_rows)
        self.n_rows = self.near.n_rows

    def reset(self, rows: RowArray) -> None:
        """Forget what was learnt of these rows."""
        for _, part in self._parts:
            part.reset(rows)

    def update(self, batch: SeriesBatch) -> None:
        """Learn the columns in order of time; see `Forecaster.update`."""
        for _, part in self._parts:
            part.update(batch)

    def predict(self) -> tuple[Forecast, ...]:
        """One Forecast a horizon, in the order in which they were asked for."""
        found = {f.horizon_seconds: f for _, part in self._parts for f in part.predict()}
        return tuple(found[horizon] for horizon in self.horizons_seconds)

    def work(self, seconds: float) -> int:
        """Near first: far trajectories age slowly. See `Forecaster.work`."""
        share = seconds / len(self._parts)
        return sum(part.work(share) for _, part in self._parts)

    def coverage(self) -> dict[float, float]:
        """Share of late forecasts that held, by horizon in seconds."""
        return {horizon: ratio for _, part in self._parts for horizon, ratio in part.coverage().items()}

    def state(self) -> dict[str, NDArray[Any]]:
        """All that was learnt, as arrays."""
        return {prefix + name: a for prefix, part in self._parts for name, a in part.state().items()}

    def restore(self, state: dict[str, NDArray[Any]]) -> Self:
        """Take what `state` once gave.

        Raises: ModelError where a name or a shape does not fit.
        """
        for prefix, part in self._parts:
            part.restore({k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)})
        self.n_rows = self.near.n_rows
        return self
