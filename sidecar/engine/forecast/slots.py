"""The grid of slots that live history is kept on: how long a slot is, how samples come into rings of them."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from sidecar.series import RowArray

STEPS_AHEAD = 288
SLOT_SECONDS = (300.0, 600.0, 900.0, 1800.0, 3600.0, 7200.0, 14400.0)
COARSEST_AHEAD = 8
"""A furthest horizon of fewer slots than this is no forecast of a course."""

BLURRED = 65536.0
"""An offset so many times a sample has no more than three digits of it, in single precision."""


def first_slot(step_seconds: float, furthest_seconds: float) -> float:
    """The finest slot that holds a step, and reaches the furthest horizon in a bounded number of slots."""
    for seconds in SLOT_SECONDS:
        if seconds >= step_seconds and seconds * STEPS_AHEAD >= furthest_seconds:
            return seconds
    return max(step_seconds, 3600.0)


def next_slot(slot_seconds: float, furthest_seconds: float) -> float | None:
    """The next coarser slot that is a multiple of this one; None where it would be too coarse."""
    for seconds in SLOT_SECONDS:
        coarser = seconds > slot_seconds and seconds % slot_seconds == 0
        if coarser and seconds * COARSEST_AHEAD <= furthest_seconds:
            return seconds
    return None


def coarser_ring(
    ring: NDArray[np.float32], newest: RowArray, factor: int, n_slots: int
) -> NDArray[np.float32]:
    """The rings (n_rows, n) with slots `factor` times as long: the last sample of each, NaN where none lies.

    `newest` (n_rows,): the number of each row's newest slot, 0 for a row that has seen nothing.
    """
    n_rows, n_old = ring.shape
    coarse = np.full((n_rows, n_slots), np.nan, dtype=np.float32)
    rows = np.flatnonzero(newest > 0)
    for back in range(n_old - 1, -1, -1):
        slot = newest[rows] - back
        values = ring[rows, slot % n_old]
        # An older round of the ring lies in what is not kept.
        kept = np.isfinite(values) & (newest[rows] // factor - slot // factor < n_slots)
        coarse[rows[kept], (slot[kept] // factor) % n_slots] = values[kept]
    return coarse


@njit(cache=True, nogil=True)
def record(history, trajectory, origin, slots, newest, values, seconds, slot_seconds):
    """The last sample of each slot, as an offset from the row's origin; slots without one are NaN.

    The origin is the row's first sample, until one comes that is too small beside the offset from it.
    """
    n_rows, n_slots = history.shape
    for row in range(n_rows):
        for t in range(len(seconds)):
            y = values[row, t]
            if not np.isfinite(y):
                continue
            slot = int(np.floor(seconds[t] / slot_seconds))
            if newest[row] == 0:
                origin[row] = y
                history[row] = np.nan
            elif abs(y - origin[row]) > BLURRED * abs(y):
                moved = np.float32(origin[row] - y)
                origin[row] = y
                history[row] += moved
                trajectory[row] += moved
            if newest[row] != 0 and slot > newest[row]:
                for gone in range(newest[row] + 1, min(slot, newest[row] + n_slots) + 1):
                    history[row, gone % n_slots] = np.nan
            history[row, slot % n_slots] = y - origin[row]
            newest[row] = max(slot, newest[row])
            slots[row] += 1
