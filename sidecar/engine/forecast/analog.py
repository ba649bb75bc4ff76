"""What followed when the series last looked like this: nearest neighbours of the newest window."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from sidecar.engine.forecast.past import Index, Past
from sidecar.engine.forecast.rules import View
from sidecar.series import FloatArray

MAX_CANDIDATES = 4000
NEIGHBOURS = 8
LAGS = (1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 233, 377, 610, 987)


class Analog:
    """The rule: the median of what followed the windows most like the newest one.

    A window is the values at lags that grow as Fibonacci numbers up to a day,
    `relative` to the mean of its day or as they are. Sawtooths, jobs and other
    shapes that no period and no line describes come again in it.
    """

    def __init__(self, past: Past, *, relative: bool) -> None:
        self.past = past
        self.relative = relative
        reach = past.day or max(past.n // 8, 3)
        self._lags = np.array([lag for lag in LAGS if lag <= reach], dtype=np.int64)
        self._width = reach

    def _base(self, positions: Index) -> FloatArray:
        if not self.relative:
            return np.zeros(len(positions))
        return self.past.window_mean(positions, self._width)

    def _windows(self, positions: Index) -> FloatArray:
        """What the series looked like before each position, (P, F); nearer values weigh more."""
        base = self._base(positions)[:, None]
        windows = self.past.y[np.maximum(positions[:, None] - self._lags, 0)] - base
        weights = 1.0 / np.sqrt(np.arange(1, len(self._lags) + 1))
        # Means over what lies between the lags steady the picture of noisy series.
        means = self.past.window_mean(positions[:, None], self._lags[3:]) - base
        return np.concatenate([windows * weights, means * weights[3:]], axis=1)

    @cached_property
    def _candidates(self) -> tuple[Index, FloatArray]:
        stride = -(-self.past.n // MAX_CANDIDATES)
        positions = np.arange(self.past.n - 1, int(self._lags[-1]), -stride, dtype=np.int64)[::-1]
        return positions, self._windows(positions)

    def __call__(self, view: View) -> FloatArray:
        """See `Rule`."""
        positions, known = self._candidates
        origins = view.origins[:, 0]
        leads = view.leads[0]
        reach = int(leads.max())
        said = np.broadcast_to(self._base(origins)[:, None], (len(origins), len(leads))).copy()
        if not self.relative:
            said += self.past.y[origins - 1][:, None]
        if len(positions) < 3 * NEIGHBOURS:
            return said
        asked = self._windows(origins)
        distance = (known**2).sum(axis=1) - 2.0 * asked @ known.T
        # Only windows whose whole future was known then.
        distance[positions[None, :] + reach > origins[:, None]] = np.inf
        enough = np.isfinite(distance).sum(axis=1) >= 3 * NEIGHBOURS
        if not enough.any():
            return said
        near = np.argpartition(distance[enough], NEIGHBOURS, axis=1)[:, :NEIGHBOURS]
        at = positions[near]  # (B, K)
        base = self._base(at.reshape(-1)).reshape(at.shape)
        futures = self.past.y[at[:, :, None] + leads - 1] - base[:, :, None]
        said[enough] = np.median(futures, axis=1) + self._base(origins[enough])[:, None]
        return said
