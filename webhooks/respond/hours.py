"""Whether a moment lies in recurring hours, and who is on call then: local clocks, daylight saving."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from sidecar.config.hours import WEEKDAYS, Hours, parse_span
from sidecar.config.teams import Schedule

DAY = timedelta(days=1)


def local(now: float, zone: str) -> datetime:
    """What a clock on the wall there shows; without a zone, so that differences are the wall clock's."""
    return datetime.fromtimestamp(now, UTC).astimezone(ZoneInfo(zone)).replace(tzinfo=None)


def covers(days: Collection[str], span: str, moment: datetime) -> bool:
    """Whether a local moment lies in a span of those days; one past midnight belongs to its first day.

    >>> covers(("fri",), "22:00-06:00", datetime(2026, 1, 3, 5, 0))
    True
    """
    begin, end = parse_span(span)
    today, yesterday = WEEKDAYS[moment.weekday()], WEEKDAYS[(moment - DAY).weekday()]
    clock = moment.time()
    if begin < end:
        return today in days and begin <= clock < end
    return (today in days and clock >= begin) or (yesterday in days and clock < end)


def within(hours: Hours, now: float) -> bool:
    """Whether a moment lies in recurring hours."""
    return covers(hours.days, hours.span, local(now, hours.timezone))


def overriding(schedule: Schedule, now: float) -> str | None:
    """Who stands in at that moment; None where nobody does."""
    moment = local(now, schedule.timezone)
    for override in schedule.overrides:
        if override.start <= moment < override.end:
            return override.person
    return None


def on_call(schedule: Schedule, now: float) -> str | None:
    """Who is on call at that moment; None in a gap.

    Turns are counted on the wall clock, so a turn over a change to or from daylight saving is an
    hour shorter or longer, and hands over at the usual time of day.
    """
    stands_in = overriding(schedule, now)
    if stands_in is not None:
        return stands_in
    moment = local(now, schedule.timezone)
    for rotation in schedule.rotations:
        if moment >= rotation.start and covers(rotation.days, rotation.span, moment):
            turn = (moment - rotation.start) // timedelta(seconds=rotation.every)
            return rotation.people[turn % len(rotation.people)]
    return None
