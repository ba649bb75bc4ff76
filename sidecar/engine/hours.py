"""Which moments lie in recurring hours or on given days of a time zone; columns in, truth out."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import numpy as np

from sidecar.config.hours import WEEKDAYS, Hours, parse_span
from sidecar.series import BoolArray, TimeArray

DAY = 86400
THURSDAY = 3
"""Weekday of 1970-01-01, with Monday as 0."""


def within_hours(hours: Iterable[Hours], timestamps: TimeArray) -> BoolArray:
    """Where any of these hours hold; `timestamps` int64 ms (T,), result (T,)."""
    found = np.zeros(len(timestamps), dtype=np.bool_)
    for one in hours:
        found |= _within(one, timestamps)
    return found


def on_days(days: Iterable[date], zone: str, timestamps: TimeArray) -> BoolArray:
    """Where it is one of these days in that zone; shape (T,)."""
    ordinals = [(day - date(1970, 1, 1)).days for day in days]
    return np.isin(_local_seconds(zone, timestamps) // DAY, np.array(ordinals, dtype=np.int64))


def _within(hours: Hours, timestamps: TimeArray) -> BoolArray:
    local = _local_seconds(hours.timezone, timestamps)
    day, second = local // DAY, local % DAY
    begin, end = (60 * (60 * moment.hour + moment.minute) for moment in parse_span(hours.span))
    chosen = np.zeros(7, dtype=np.bool_)
    chosen[[WEEKDAYS.index(name) for name in hours.days]] = True
    today, yesterday = chosen[(day + THURSDAY) % 7], chosen[(day - 1 + THURSDAY) % 7]
    if end > begin:
        return np.asarray(today & (second >= begin) & (second < end))
    # Past midnight it still is the span of the day before.
    return np.asarray((today & (second >= begin)) | (yesterday & (second < end)))


def _local_seconds(zone: str, timestamps: TimeArray) -> TimeArray:
    """Seconds since the epoch as a clock on the wall shows them."""
    seconds = timestamps // 1000
    # Zones change their offset at quarters of an hour, if at all.
    quarters, inverse = np.unique(seconds // 900, return_inverse=True)
    where = ZoneInfo(zone)
    offsets = []
    for quarter in quarters.tolist():
        offset = datetime.fromtimestamp(quarter * 900, UTC).astimezone(where).utcoffset()
        offsets.append(int(offset.total_seconds()) if offset is not None else 0)
    return np.asarray(seconds + np.array(offsets, dtype=np.int64)[inverse])
