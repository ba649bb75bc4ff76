"""Public holidays as other days of the week: at which time the usual is to be looked up instead."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np

from sidecar.config.known import CalendarConfig
from sidecar.series import TimeArray

QUARTER_MS = 900_000
"""Midnight is not on the hour of UTC everywhere: in India it is at half past, in Nepal at a quarter past."""

REMEMBERED_QUARTERS = 10_000
"""A hundred days of them; what is asked about today is asked about again, what was in spring is not."""

_LIKE = {"saturday": 5, "sunday": 6}


class Holidays:
    """The holidays of a country."""

    def __init__(self, calendar: CalendarConfig) -> None:
        import holidays  # A third of a second, of which only those pay who want it.

        self._days = holidays.country_holidays(calendar.country or "", subdiv=calendar.subdivision)
        self._zone = ZoneInfo(calendar.time_zone)
        self._weekday = _LIKE[calendar.holiday_like]
        self._memo: dict[int, int] = {}

    def like(self, timestamps: TimeArray) -> TimeArray:
        """The times whose usual holds: the same, or on a holiday the last such weekday at this time; ms."""
        if len(self._memo) > REMEMBERED_QUARTERS:
            self._memo.clear()
        quarters = (timestamps // QUARTER_MS).tolist()
        days_back = np.array([self._days_back(quarter) for quarter in quarters], dtype=np.int64)
        return timestamps - days_back * 86400_000

    def _days_back(self, quarter: int) -> int:
        """Days to go back at a quarter of an hour since the epoch: 0 where it is no holiday."""
        found = self._memo.get(quarter)
        if found is None:
            local = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(minutes=15 * quarter)).astimezone(
                self._zone
            )
            found = (local.weekday() - self._weekday) % 7 if local.date() in self._days else 0
            self._memo[quarter] = found
        return found
