"""State as arrays with one entry a row: growing, forgetting, saving."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import DTypeLike, NDArray

from sidecar.errors import ModelError
from sidecar.series import FloatArray, RowArray

MAX_VALUE = 1e36
"""What is beyond is no measurement: profiles of seasons, of four bytes each, could not hold it."""


def measurements(values: FloatArray) -> FloatArray:
    """The values, NaN where one is so large that it cannot be a measurement."""
    return np.where(np.abs(values) < MAX_VALUE, values, np.nan)


class RowArrays:
    """Named arrays whose first axis is the row; zero is the state of a row that has seen nothing."""

    def __init__(self, layout: Mapping[str, tuple[tuple[int, ...], DTypeLike]]) -> None:
        self._layout = layout
        self.n_rows = 0
        self._room: dict[str, NDArray[Any]] = {}
        self.arrays: dict[str, NDArray[Any]] = {
            name: np.zeros((0, *shape), dtype=dtype) for name, (shape, dtype) in layout.items()
        }

    def resize(self, n_rows: int) -> None:
        """Make room for so many rows; what was learnt of the others stays. Rows are never taken away.

        Room grows by a quarter, so that a trickle of new series does not copy all state each time.
        """
        if n_rows <= self.n_rows:
            return
        for name, (shape, dtype) in self._layout.items():
            if len(self._room.get(name, ())) < n_rows:
                # A first fill is exact: most queries know all of their series from the start.
                capacity = n_rows if self.n_rows == 0 else max(n_rows, self.n_rows + self.n_rows // 4)
                room = np.zeros((capacity, *shape), dtype=dtype)
                room[: self.n_rows] = self.arrays[name]
                self._room[name] = room
            self.arrays[name] = self._room[name][:n_rows]
        self.n_rows = n_rows

    def reset(self, rows: RowArray) -> None:
        """Forget what was learnt of these rows."""
        for array in self.arrays.values():
            array[rows] = 0

    def copy_rows(self, rows: RowArray, donors: RowArray) -> None:
        """Let each of `rows` start with all that its donor knows."""
        for array in self.arrays.values():
            array[rows] = array[donors]

    def state(self) -> dict[str, NDArray[Any]]:
        """The arrays themselves, by name."""
        return dict(self.arrays)

    def restore(self, state: dict[str, NDArray[Any]]) -> Self:
        """Take what `state` once gave: the arrays themselves, which the caller has no more use for.

        Raises: ModelError where a name or a shape does not fit.
        """
        if set(state) != set(self._layout):
            raise ModelError(f"state has arrays {sorted(state)}, needed are {sorted(self._layout)}")
        sizes = {len(array) for array in state.values()}
        if len(sizes) != 1:
            raise ModelError(f"state's arrays differ in rows: {sorted(sizes)}")
        for name, (shape, dtype) in self._layout.items():
            if state[name].shape[1:] != shape:
                raise ModelError(f"state {name!r} has shape {state[name].shape[1:]}, needed is {shape}")
            # A copy of hundreds of megabytes would be half of the time that a restart takes.
            self.arrays[name] = np.require(state[name], dtype=dtype, requirements=["C", "W"])
        self._room = dict(self.arrays)
        self.n_rows = sizes.pop()
        return self

    def _arrays(self) -> tuple[NDArray[Any], ...]:
        return tuple(self.arrays[name] for name in self._layout)
