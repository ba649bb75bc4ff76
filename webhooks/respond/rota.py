"""Who is on call where another tool says so: its iCal feed or its HTTP answer, read every few minutes.

A calendar that was read once answers for any moment, also while its server is away. An answer by
HTTP is true for the moment it was given, so an old one is no answer.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import msgspec
from prometheus_client import CollectorRegistry, Gauge

from sidecar.background import Background
from sidecar.bodies import read_up_to
from sidecar.config.load import read_secret
from sidecar.config.teams import Person, RotaSource, Schedule
from sidecar.errors import NotifyError
from sidecar.telemetry import get_logger
from webhooks.notify.channel import where
from webhooks.respond.hours import on_call, overriding

if TYPE_CHECKING:
    from icalendar import Calendar

TIMEOUT_SECONDS = 15.0
MAX_BYTES = 8 << 20
FIRST_SECONDS = 5.0
"""So long a start waits for the first answers: without them steps would be passed over."""
STALE_SECONDS = 3600.0
"""An answer by HTTP that old is none."""
KEPT = timedelta(days=7)
"""Shifts that were over so long ago when the calendar was read are not gone through each minute."""
REPEATS = frozenset({"RRULE", "RDATE", "RECURRENCE-ID", "DURATION"})
"""What an event may have by which it is not over at its end."""


class RotaMetrics:
    """What is told of reading other tools' schedules."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.up = Gauge(
            "pronoia_on_call_source_up",
            "1 if the other tool's schedule was read at the last try.",
            ["schedule"],
            registry=registry,
        )


class Rotas:
    """Answers who is on call, by configuration or by reference."""

    def __init__(
        self,
        schedules: Iterable[Schedule],
        people: Iterable[Person],
        *,
        metrics: RotaMetrics,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._schedules = {schedule.name: schedule for schedule in schedules}
        self._people = tuple(people)
        self._metrics = metrics
        self._now = now
        self._calendars: dict[str, Calendar] = {}
        self._answers: dict[str, tuple[float, str]] = {}
        self._at_minute: dict[str, tuple[int, str | None]] = {}
        self._tasks: list[Background] = []
        self._log = get_logger("on-call")

    async def start(self, before: Rotas | None = None) -> None:
        """Begin to read what other tools say; return when each was tried once, or after some seconds.

        `before`: whose place these take; what it has read is good until it is read again.
        """
        tried = []
        for schedule in self._schedules.values():
            if schedule.source is not None:
                if before is not None:
                    self._inherit(schedule, before)
                first = asyncio.Event()
                task = Background(f"on-call-{schedule.name}")
                task.start(self._run(schedule, schedule.source, first))
                self._tasks.append(task)
                tried.append(asyncio.ensure_future(first.wait()))
        if tried:
            _, late = await asyncio.wait(tried, timeout=FIRST_SECONDS)
            for waiting in late:
                waiting.cancel()

    def _inherit(self, schedule: Schedule, before: Rotas) -> None:
        name, old = schedule.name, before._schedules.get(schedule.name)
        if old is None or old.source != schedule.source:
            return
        if name in before._calendars:
            self._calendars[name] = before._calendars[name]
        if name in before._answers:
            self._answers[name] = before._answers[name]

    async def stop(self) -> None:
        """End."""
        for task in self._tasks:
            await task.stop()

    def names(self) -> list[str]:
        """Of all schedules."""
        return list(self._schedules)

    def on_call(self, name: str, now: float) -> str | None:
        """The person on call by that schedule; None in a gap, or while nothing is known."""
        schedule = self._schedules[name]
        if schedule.source is None:
            return on_call(schedule, now)
        stands_in = overriding(schedule, now)
        if stands_in is not None:
            return stands_in
        if schedule.source.ical is not None:
            return self._by_calendar(name, now)
        at, said = self._answers.get(name, (0.0, ""))
        return person_named(said, self._people) if now - at < STALE_SECONDS else None

    def _by_calendar(self, name: str, now: float) -> str | None:
        """By the newest calendar; worked out once a minute, since each open incident asks."""
        minute, person = self._at_minute.get(name, (-1, None))
        if minute != int(now // 60) and name in self._calendars:
            try:
                person = on_call_by(self._calendars[name], self._people, now)
            except Exception:
                # Whatever libraries raise for an odd event: by a gap the next is told, by a fault nobody.
                self._log.exception("a calendar does not say who is on call", schedule=name)
                person = None
            self._at_minute[name] = (int(now // 60), person)
        return person

    async def _run(self, schedule: Schedule, source: RotaSource, tried: asyncio.Event) -> None:
        while True:
            try:
                await self.read(schedule.name, source)
                self._metrics.up.labels(schedule.name).set(1.0)
            except NotifyError as error:
                self._metrics.up.labels(schedule.name).set(0.0)
                self._log.warning(
                    "schedule not read, the last one is used", schedule=schedule.name, err=str(error)
                )
            except Exception:
                # The loop's edge: an odd calendar must not end the reading of later ones.
                self._metrics.up.labels(schedule.name).set(0.0)
                self._log.exception("reading a schedule broke off", schedule=schedule.name)
            tried.set()
            await asyncio.sleep(source.refresh)

    async def read(self, name: str, source: RotaSource) -> None:
        """Read a source once.

        Raises: NotifyError where it cannot be read or says nothing usable.
        """
        place = source.ical or source.url or ""
        raw = await _content(place, source)
        if source.ical is not None:
            self._calendars[name] = await asyncio.to_thread(_calendar, raw, place, self._now())
            self._at_minute.pop(name, None)
        else:
            self._answers[name] = (self._now(), said_at(raw, source.field))


def on_call_by(calendar: Calendar, people: Iterable[Person], now: float) -> str | None:
    """Who a calendar's events name at a moment; of several events that which began last."""
    import recurring_ical_events

    people = tuple(people)
    events = recurring_ical_events.of(calendar).at(datetime.fromtimestamp(now, UTC))
    for event in sorted(events, key=lambda one: _moment(one.get("DTSTART").dt), reverse=True):
        if str(event.get("STATUS", "")).upper() == "CANCELLED":
            continue  # Calendars keep what does not take place.
        attendees = event.get("ATTENDEE") or []
        attendees = attendees if isinstance(attendees, list) else [attendees]
        texts = [str(event.get("SUMMARY", "")), *map(str, attendees)]
        found = next((name for text in texts if (name := person_named(text, people))), None)
        if found is not None:
            return found
    return None


def _moment(start: date) -> float:
    """When an event begins: zones differ within a calendar; a day, and what names no zone, is as in UTC."""
    at = start if isinstance(start, datetime) else datetime(start.year, start.month, start.day)
    return (at if at.tzinfo is not None else at.replace(tzinfo=UTC)).timestamp()


def person_named(text: str, people: Iterable[Person]) -> str | None:
    """The configured person whom a text names, by name or by what else they are known as; longest first.

    >>> ann = Person(name="ann", targets=("t",), known_as=("Ann Smith",))
    >>> person_named("On Call - ann smith (primary)", [ann])
    'ann'
    """
    words = f" {''.join(c if c.isalnum() or c in '@._-+' else ' ' for c in text.casefold())} "
    words = " ".join(words.split()).join("  ")
    known = [(alias.casefold(), one.name) for one in people for alias in (one.name, *one.known_as)]
    for alias, name in sorted(known, key=lambda pair: -len(pair[0])):
        if f" {' '.join(alias.split())} " in words:
            return name
    return None


def said_at(raw: bytes, path: str) -> str:
    """What a JSON document says at a dotted path, numbers counting list items; empty for null.

    Raises: NotifyError where it is no JSON, or has no such place.
    """
    try:
        found: Any = msgspec.json.decode(raw)
    except msgspec.DecodeError as error:
        raise NotifyError(f"answers no JSON: {error}", retryable=True) from error
    for step in path.split(".") if path else ():
        try:
            found = found[int(step)] if isinstance(found, list) else found[step]
        except (KeyError, IndexError, TypeError, ValueError) as error:
            # An empty list is how tools say that nobody is on call.
            if found == []:
                return ""
            raise NotifyError(f"has no {path!r} in its answer", retryable=True) from error
    return "" if found is None else str(found)


def _calendar(raw: bytes, place: str, now: float) -> Calendar:
    """The calendar, less what was over long ago: years of shifts take a second to go through."""
    from icalendar import Calendar

    try:
        found = Calendar.from_ical(raw)
    except ValueError as error:
        raise NotifyError(f"{where(place)}: no calendar: {error}", retryable=True) from error
    if not isinstance(found, Calendar):
        raise NotifyError(f"{where(place)}: no calendar", retryable=True)
    before = now - KEPT.total_seconds()
    found.subcomponents = [one for one in found.subcomponents if not _is_over(one, before)]
    return found


def _is_over(event: Any, before: float) -> bool:
    """Whether a calendar's entry is an event that had ended by then, once and for all."""
    if event.name != "VEVENT" or "DTEND" not in event or not REPEATS.isdisjoint(event):
        return False
    try:
        return _moment(event["DTEND"].dt) < before
    except (AttributeError, TypeError, ValueError, OverflowError):
        return False  # An odd one is left to whoever reads all of them.


async def _content(place: str, source: RotaSource) -> bytes:
    if not place.startswith(("http://", "https://")):
        try:
            return await asyncio.to_thread(Path(place).read_bytes)
        except OSError as error:
            raise NotifyError(f"{place}: {error.strerror}", retryable=True) from error
    headers: Mapping[str, str] = await asyncio.to_thread(_headers, source)
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT_SECONDS)) as session,
            session.get(place, headers=headers) as answer,
        ):
            body = await read_up_to(answer.content, MAX_BYTES + 1)
    except (aiohttp.ClientError, OSError) as error:
        raise NotifyError(f"{where(place)}: {error or type(error).__name__}", retryable=True) from error
    if answer.status != 200:
        raise NotifyError(f"{where(place)}: status {answer.status}", retryable=True)
    if len(body) > MAX_BYTES:
        raise NotifyError(f"{where(place)}: longer than {MAX_BYTES} bytes", retryable=True)
    return body


def _headers(source: RotaSource) -> dict[str, str]:
    try:
        token = read_secret(source.token, source.token_file)
    except OSError as error:
        raise NotifyError(f"the token cannot be read: {error}", retryable=True) from error
    between = "" if source.token_kind.endswith("=") else " "
    return {"Authorization": f"{source.token_kind}{between}{token}"} if token else {}
