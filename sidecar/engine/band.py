"""The band that users see: within what a query can be, and no narrower than anyone cares for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from sidecar.config.model import QueryConfig
from sidecar.engine.protocols import SideArray
from sidecar.promql.share import is_share
from sidecar.series import BoolArray, FloatArray, Forecast

SHARE_ROUNDING = 1e-9  # A sum of parts may come out that much above its whole.
NEAR_USUAL = 0.25  # So much of a drift still counts as the level that is usual.


class Band:
    """What one query allows a band to be; `negative`: whether a series was ever below zero, like `yhat`."""

    def __init__(self, query: QueryConfig) -> None:
        self._query = query
        self._ceiling = query.upper_bound
        if query.upper_bound is None and is_share(query.expr):
            self._ceiling = 1.0 + SHARE_ROUNDING

    def possible(self, yhat: FloatArray, negative: BoolArray) -> FloatArray:
        """The centre as a value that the series can have: bounds of the query, and of its own past."""
        centre = np.where(~negative & (yhat < 0), 0.0, yhat)
        if self._query.lower_bound is not None:
            centre = np.maximum(centre, self._query.lower_bound)
        if self._ceiling is not None:
            centre = np.minimum(centre, self._ceiling)
        return centre

    def forecast(self, said: Forecast) -> Forecast:
        """A forecast within the bounds of the query."""
        floor, ceiling = self._query.lower_bound, self._ceiling
        if floor is None and ceiling is None:
            return said
        yhat, lower, upper = (np.clip(ends, floor, ceiling) for ends in (said.yhat, said.lower, said.upper))
        return replace(said, yhat=yhat, lower=lower, upper=upper)

    def allowed(
        self, yhat: FloatArray, lower: FloatArray, upper: FloatArray, negative: BoolArray
    ) -> tuple[FloatArray, FloatArray]:
        """The band with room for what does not matter, within what is possible, on the sides asked for."""
        query = self._query
        if query.min_deviation or query.min_relative_deviation:
            room = np.maximum(query.min_deviation, query.min_relative_deviation * np.abs(yhat))
            with np.errstate(invalid="ignore"):  # A profile in single precision may have none but infinity.
                lower, upper = np.minimum(lower, yhat - room), np.maximum(upper, yhat + room)
        # A series that never was below zero is given no negative band: its edges end there, both of them.
        lower = np.where(~negative & (lower < 0), 0.0, lower)
        upper = np.where(~negative & (upper < 0), 0.0, upper)
        if query.lower_bound is not None:
            lower, upper = np.maximum(lower, query.lower_bound), np.maximum(upper, query.lower_bound)
        if self._ceiling is not None:
            lower, upper = np.minimum(lower, self._ceiling), np.minimum(upper, self._ceiling)
        if query.direction == "above":
            lower = np.full_like(lower, np.nan)
        elif query.direction == "below":
            upper = np.full_like(upper, np.nan)
        return lower, upper


def around_the_usual(
    shape: SideArray, yhat: FloatArray, usual: FloatArray, lower: FloatArray, upper: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """The band where a drift is told of: around the level that is usual, without the one that it came to."""
    edge = usual + NEAR_USUAL * (yhat - usual)
    up, down = shape == 1, shape == -1
    return (
        np.where(up, np.minimum(lower, usual), np.where(down, np.maximum(lower, edge), lower)),
        np.where(down, np.maximum(upper, usual), np.where(up, np.minimum(upper, edge), upper)),
    )


def held(yhat: FloatArray, lower: FloatArray, upper: FloatArray) -> FloatArray:
    """The centre that a band is drawn around: its middle where the centre has left it.

    In an alarm the centre follows the series while the band stays where it was. What is measured from a
    centre that has gone along (the least deviation that matters, a wider band at peak hours) would end the
    alarm, or turn the band over.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        middle = 0.5 * lower + 0.5 * upper
        left = (yhat < lower) | (yhat > upper)
        return np.where(left & np.isfinite(middle), middle, within(yhat, lower, upper))


def within(yhat: FloatArray, lower: FloatArray, upper: FloatArray) -> FloatArray:
    """The centre, or the edge of the band that it has left; a side without an edge has none to leave."""
    with np.errstate(invalid="ignore"):
        return np.where(yhat < lower, lower, np.where(yhat > upper, upper, yhat))
