"""Times of day, weekdays and zones, as schedules and pauses state them."""

from __future__ import annotations

import re
from datetime import time
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, Field

from sidecar.config.section import Section

Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
WEEKDAYS: tuple[Weekday, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_SPAN = re.compile(r"^([01]\d|2[0-3]):([0-5]\d)-(?:([01]\d|2[0-3]):([0-5]\d)|24:00)$")


def zone_exists(name: str) -> str:
    """The name, where there is a time zone of it.

    Raises: ValueError.
    """
    try:
        ZoneInfo(name)
    except (KeyError, OSError, ValueError) as error:
        raise ValueError(f"{name!r} is no time zone; write one like Europe/Berlin or UTC") from error
    return name


Zone = Annotated[str, AfterValidator(zone_exists)]


def parse_span(text: str) -> tuple[time, time]:
    """Beginning and end of `22:00-07:00`; an end that is not after the beginning is on the next day.

    Raises: ValueError.

    >>> parse_span("22:00-07:00")[1]
    datetime.time(7, 0)
    """
    found = _SPAN.match(text)
    if found is None:
        raise ValueError(f"{text!r} is no span of a day; write 09:00-17:00 or 22:00-07:00")
    h1, m1, h2, m2 = (int(part or 0) for part in found.groups())
    return time(h1, m1), time(h2, m2)


def _span(text: str) -> str:
    parse_span(text)
    return text


Span = Annotated[str, AfterValidator(_span)]


class Hours(Section):
    """Recurring hours: days, a span of the day, a zone. A span past midnight belongs to its first day."""

    days: tuple[Weekday, ...] = Field(WEEKDAYS, min_length=1)
    span: Span = "00:00-24:00"
    timezone: Zone = "UTC"
