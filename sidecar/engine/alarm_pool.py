"""What the series of a query learn together of their thresholds: they are lower where nobody alarms.

A series alone takes a month and a half to learn that its noise is tame, at steps of an hour a year;
a hundred of them see as much in a day. All thresholds of a query are multiplied by a factor of at most 1,
at which its series together alarm as often as their budgets say. Only lowered, since alarms are no
proof of noise: series that share incidents would deafen each other.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sidecar.config.model import usual_false_alarms
from sidecar.errors import ModelError
from sidecar.series import FloatArray

LEAST_ROWS = 5  # Fewer are no pool: each learns by itself.
LOWEST = 0.5
"""The least factor where the budget is the usual one; a stricter one begins higher, and may go as low.

It is reached at steps of an hour, by noise of few values and by what is much like the sample before."""

EXPONENT = 2.0
"""Alarms at a threshold say how many there would be at another by this power of their ratio. That of tame
tails is larger, at which the factor would take years to come down; what it is does not matter where it ends.
"""

AIM = 0.7
"""Of what is allowed, so that what series learn by themselves, and what chance brings, has room below it."""

SUPPOSED = 4.0  # So many alarms, as many as allowed, are supposed before any is seen.
REMEMBERED_SECONDS = 60 * 86400.0
APART = 0.6
"""A series whose own threshold is above the middle one by so much, of the logarithm, counts for itself."""

MOST_AT_ONCE = 5.0
"""An hour has no more alarms than so many times those that it may, and one: an incident of all is one."""


class AlarmPool:
    """The factor on all thresholds of a query, from its series' alarms and what they are allowed.

    `budget_per_month` alarms a series and 30 days at `step_seconds`; by it and `exponent`, that of the
    tails of noise, thresholds begin higher than the usual. State 16 bytes a query.
    """

    def __init__(self, budget_per_month: float, step_seconds: float, exponent: float) -> None:
        strict = budget_per_month / usual_false_alarms(step_seconds)
        self._lowest = min(LOWEST * strict ** (1.0 / exponent), 1.0)
        self._counts = np.zeros(2)

    @property
    def factor(self) -> float:
        """By how much all thresholds are lower, `LOWEST` to 1 at the usual budget."""
        spent, allowed = self._counts
        share = (spent + SUPPOSED) / (AIM * allowed + SUPPOSED)
        return float(min(max(share ** (1.0 / EXPONENT), self._lowest), 1.0))

    def learn(self, spent: FloatArray, allowed: FloatArray, own: FloatArray, seconds: float) -> None:
        """Count the alarms of the `seconds` since the last time, of the rows judged then.

        `spent`, `allowed`: alarms, as much as they count, and those that the budget had for the time, by
        row; `own`: what each row learnt by itself, the logarithm of a factor. Shapes (n_rows,).
        """
        if len(own) < LEAST_ROWS:
            return
        usual = own <= np.median(own) + APART
        may = float(allowed[usual].sum())
        told = min(float(spent[usual].sum()), 1.0 + MOST_AT_ONCE * may)
        self._counts *= 1.0 - min(seconds / REMEMBERED_SECONDS, 1.0)
        # As many as there would have been at a factor of 1.
        self._counts += (told * self.factor**EXPONENT, may)

    def state(self) -> NDArray[np.float64]:
        """What was counted so far, shape (2,)."""
        return self._counts

    def restore(self, counts: NDArray[np.float64]) -> None:
        """Take what `state` once gave. Raises: ModelError."""
        if counts.shape != (2,) or not (np.isfinite(counts) & (counts >= 0.0)).all():
            raise ModelError("state lacks the pool's two counts of alarms")
        self._counts = np.array(counts)
