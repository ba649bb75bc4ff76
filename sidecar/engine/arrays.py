"""State as arrays with one entry a row: growing, forgetting, saving."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import DTypeLike, NDArray

from sidecar.errors import ModelError
from sidecar.series import RowArray


class RowArrays:
    """Named arrays whose first axis is the row; zero is the state of a row that has seen nothing."""

    def __init__(self, layout: dict[str, tuple[tuple[int, ...], DTypeLike]]) -> None:
        self._layout = layout
        self.n_rows = 0
        self.arrays: dict[str, NDArray[Any]] = {
            name: np.zeros((0, *shape), dtype=dtype) for name, (shape, dtype) in layout.items()
        }

    def resize(self, n_rows: int) -> None:
        """Make room for so many rows; what was learnt of the others stays."""
        for name, (shape, dtype) in self._layout.items():
            grown = np.zeros((n_rows, *shape), dtype=dtype)
            kept = min(n_rows, self.n_rows)
            grown[:kept] = self.arrays[name][:kept]
            self.arrays[name] = grown
        self.n_rows = n_rows

    def reset(self, rows: RowArray) -> None:
        """Forget what was learnt of these rows."""
        for array in self.arrays.values():
            array[rows] = 0

    def state(self) -> dict[str, NDArray[Any]]:
        """The arrays themselves, by name."""
        return dict(self.arrays)

    def restore(self, state: dict[str, NDArray[Any]]) -> Self:
        """Take what `state` once gave.

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
            self.arrays[name] = np.array(state[name], dtype=dtype)
        self.n_rows = sizes.pop()
        return self

    def _arrays(self) -> tuple[NDArray[Any], ...]:
        return tuple(self.arrays[name] for name in self._layout)
