"""How many alarms a query's series really have, beside the budget that was stated."""

from __future__ import annotations

import math

MONTH_SECONDS = 30 * 86400.0


class AchievedRate:
    """Alarms a series and 30 days, of about the last 30 days; true ones count like false ones."""

    def __init__(self, step_seconds: float) -> None:
        self._step_months = step_seconds / MONTH_SECONDS
        self._keep = math.exp(-step_seconds / MONTH_SECONDS)
        self._alarms = self._series_months = 0.0

    def observe(self, n_started: int, n_judged: int) -> float | None:
        """The rate after one more step; None before any series was judged."""
        self._alarms = self._keep * self._alarms + n_started
        self._series_months = self._keep * self._series_months + n_judged * self._step_months
        return self._alarms / self._series_months if self._series_months else None
