"""Who is on call where another tool says so, and who has taken on such incidents before."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from icalendar import Calendar
from prometheus_client import CollectorRegistry

from sidecar.config.teams import Person, Schedule
from sidecar.errors import NotifyError
from sidecar.records import Incident, Response
from tests.unit.webhooks.respond.incidents import NOW, Clock, incident
from webhooks.respond.experts import experts
from webhooks.respond.rota import RotaMetrics, Rotas, on_call_by, person_named, said_at

PEOPLE = [
    Person(name="ann", targets=("t",), known_as=("Ann Smith", "ann.smith@example.com")),
    Person(name="bob", targets=("t",), known_as=("Bob Jones",)),
]
FEED = """BEGIN:VCALENDAR
VERSION:2.0
PRODID:-//a tool//EN
BEGIN:VEVENT
UID:1
DTSTART;TZID=Europe/Berlin:20260302T090000
DTEND;TZID=Europe/Berlin:20260309T090000
RRULE:FREQ=WEEKLY;INTERVAL=2
SUMMARY:On Call - Ann Smith - Shop
END:VEVENT
BEGIN:VEVENT
UID:2
DTSTART;TZID=Europe/Berlin:20260309T090000
DTEND;TZID=Europe/Berlin:20260316T090000
RRULE:FREQ=WEEKLY;INTERVAL=2
EXDATE;TZID=Europe/Berlin:20260406T090000
SUMMARY:on call
ATTENDEE:mailto:bob jones
END:VEVENT
BEGIN:VEVENT
UID:3
DTSTART:20260304T120000Z
DTEND:20260304T140000Z
SUMMARY:Override: Bob Jones
END:VEVENT
BEGIN:VEVENT
UID:4
DTSTART;TZID=America/New_York:20260305T080000
DTEND;TZID=America/New_York:20260305T100000
SUMMARY:Override: Bob Jones
END:VEVENT
BEGIN:VEVENT
UID:5
DTSTART;TZID=Europe/Berlin:20260305T120000
DTEND;TZID=Europe/Berlin:20260306T120000
SUMMARY:Override: Ann Smith
END:VEVENT
BEGIN:VEVENT
UID:6
DTSTART:20260304T150000Z
DTEND:20260304T170000Z
SUMMARY:Override: Bob Jones
STATUS:CANCELLED
END:VEVENT
END:VCALENDAR
""".replace("\n", "\r\n")


WHOLE = Calendar.from_ical(FEED)


def berlin(moment: str) -> float:
    return datetime.fromisoformat(moment).replace(tzinfo=ZoneInfo("Europe/Berlin")).timestamp()


def rotas(source: dict[str, Any], clock: Clock | None = None, **schedule: Any) -> Rotas:
    one = Schedule.model_validate({"name": "s", "source": source, **schedule})
    return Rotas([one], PEOPLE, metrics=RotaMetrics(CollectorRegistry()), now=clock or Clock())


async def read(found: Rotas) -> Rotas:
    schedule = found._schedules["s"]
    assert schedule.source is not None
    await found.read("s", schedule.source)
    return found


@pytest.mark.parametrize(
    ("moment", "person"),
    [
        pytest.param("2026-03-02T08:59", None, id="before the first turn"),
        pytest.param("2026-03-02T09:00", "ann", id="her turn"),
        pytest.param("2026-03-04T13:30", "bob", id="an override began later"),
        pytest.param("2026-03-04T15:00", "ann", id="after the override"),
        pytest.param("2026-03-04T16:30", "ann", id="what was called off is no override"),
        pytest.param("2026-03-05T14:30", "bob", id="an override began later, in another zone"),
        pytest.param("2026-03-12T00:00", "bob", id="by his address"),
        pytest.param("2026-03-30T08:59", "bob", id="the hour changed meanwhile, not that of the turn"),
        pytest.param("2026-03-30T09:00", "ann", id="a repeated turn after the change to summer time"),
        pytest.param("2026-04-08T00:00", None, id="a turn that was taken out"),
    ],
)
async def test_a_calendar(tmp_path: Path, moment: str, person: str | None) -> None:
    (tmp_path / "rota.ics").write_text(FEED, newline="")
    found = await read(rotas({"ical": str(tmp_path / "rota.ics")}))
    assert found.on_call("s", berlin(moment)) == person


@pytest.mark.parametrize(
    ("moment", "kept"),
    [
        pytest.param("2026-03-01T00:00", {"1", "2", "3", "4", "5", "6"}, id="before all of them"),
        pytest.param("2026-03-12T00:00", {"1", "2", "4", "5"}, id="a week after two of them"),
        pytest.param("2027-01-01T00:00", {"1", "2"}, id="long after all but those that come again"),
    ],
)
async def test_shifts_that_are_long_over_are_not_gone_through(
    tmp_path: Path, moment: str, kept: set[str]
) -> None:
    """Years of them took a second of the event loop each minute while an incident was open."""
    (tmp_path / "rota.ics").write_text(FEED, newline="")
    clock = Clock(berlin(moment))
    found = await read(rotas({"ical": str(tmp_path / "rota.ics")}, clock))
    assert {str(event["UID"]) for event in found._calendars["s"].walk("VEVENT")} == kept
    for hours in range(0, 24 * 40, 67):
        at = clock.now + 3600.0 * hours
        whole = on_call_by(WHOLE, PEOPLE, at)
        assert on_call_by(found._calendars["s"], PEOPLE, at) == whole


@pytest.fixture
async def tool() -> AsyncIterator[tuple[dict[str, Any], str]]:
    """Another tool; what it answers, and its address."""
    says: dict[str, Any] = {"status": 200, "body": {"oncalls": [{"user": {"summary": "Bob Jones"}}]}}

    async def answer(request: web.Request) -> web.Response:
        says["authorization"] = request.headers.get("Authorization", "")
        if request.path == "/feed.ics":
            return web.Response(text=FEED, status=says["status"])
        return web.json_response(says["body"], status=says["status"])

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    async with TestServer(app) as server:
        yield says, str(server.make_url("/"))


async def test_an_answer_by_http_is_good_for_a_while(tool: tuple[dict[str, Any], str]) -> None:
    says, url = tool
    clock = Clock()
    source = {"url": url, "field": "oncalls.0.user.summary", "token": "hush", "token_kind": "Token token="}
    found = await read(rotas(source, clock))
    assert says["authorization"] == "Token token=hush"
    assert found.on_call("s", clock.now) == "bob"
    says["status"] = 500
    with pytest.raises(NotifyError, match="status 500"):
        await read(found)
    assert found.on_call("s", clock.now + 3599) == "bob"
    assert found.on_call("s", clock.now + 3600) is None
    says.update(status=200, body={"oncalls": []})
    await read(found)
    assert found.on_call("s", clock.now) is None


async def test_a_calendar_outlives_its_server_and_overrides_win(tool: tuple[dict[str, Any], str]) -> None:
    says, url = tool
    override = {"person": "bob", "start": "2026-03-02T10:00:00", "end": "2026-03-02T11:00:00"}
    found = await read(rotas({"ical": f"{url}feed.ics"}, timezone="Europe/Berlin", overrides=[override]))
    says["status"] = 404
    with pytest.raises(NotifyError):
        await read(found)
    assert found.on_call("s", berlin("2026-03-02T10:30")) == "bob"
    assert found.on_call("s", berlin("2026-03-02T11:00")) == "ann"


async def test_a_reload_knows_what_was_read_before(tool: tuple[dict[str, Any], str]) -> None:
    says, url = tool
    source = {"url": url, "field": "oncalls.0.user.summary"}
    first, second, other = rotas(source), rotas(source), rotas({**source, "field": "elsewhere"})
    await first.start()
    assert first.on_call("s", NOW) == "bob", "a start waits for the first answer"
    says["status"] = 500
    await second.start(before=first)
    await other.start(before=first)
    assert (second.on_call("s", NOW), other.on_call("s", NOW)) == ("bob", None)
    for one in (first, second, other):
        await one.stop()


async def test_what_is_no_calendar(tmp_path: Path) -> None:
    (tmp_path / "rota.ics").write_text("<html>please log in</html>")
    with pytest.raises(NotifyError, match="no calendar"):
        await read(rotas({"ical": str(tmp_path / "rota.ics")}))
    with pytest.raises(NotifyError, match="No such file"):
        await read(rotas({"ical": str(tmp_path / "none.ics")}))


@pytest.mark.parametrize(
    ("text", "person"),
    [
        ("On Call - ANN  SMITH (primary)", "ann"),
        ("mailto:ann.smith@example.com", "ann"),
        ("bob", "bob"),
        ("Bobby Jonesson", None),
        ("annual review", None),
        ("", None),
    ],
)
def test_people_by_the_names_of_other_tools(text: str, person: str | None) -> None:
    assert person_named(text, PEOPLE) == person


@pytest.mark.parametrize(
    ("raw", "path", "said"),
    [(b'"ann"', "", "ann"), (b'{"a": [{"b": null}]}', "a.0.b", ""), (b'{"a": []}', "a.0.b", "")],
)
def test_places_in_an_answer(raw: bytes, path: str, said: str) -> None:
    assert said_at(raw, path) == said


@pytest.mark.parametrize(("raw", "path"), [(b"<html>", "a"), (b'{"a": 1}', "b"), (b'{"a": 1}', "a.b")])
def test_answers_that_say_nothing(raw: bytes, path: str) -> None:
    with pytest.raises(NotifyError):
        said_at(raw, path)


def past(name: str, *, days: float = 1.0, **fields: Any) -> Incident:
    return incident(name, state="resolved", started_at_ns=int((NOW - days * 86400) * 1e9), **fields)


@pytest.mark.parametrize(
    ("stories", "expected"),
    [
        pytest.param([("ann", "", past("a"))], ["ann"], id="took one on"),
        pytest.param([("slack:Ann", "", past("a"))], ["ann"], id="by a button"),
        pytest.param([("eve", "", past("a"))], [], id="nobody whom we can tell"),
        pytest.param(
            [("ann", "", past("a")), ("bob", "restart", past("b"))], ["bob", "ann"], id="a fix counts more"
        ),
        pytest.param(
            [("ann", "", past("a", days=400.0)), ("bob", "", past("b"))], ["bob"], id="long ago is forgotten"
        ),
        pytest.param([("ann", "", past("a", title="x: Y", causes=[], category="z"))], [], id="nothing alike"),
        pytest.param([("ann", "", past("a", noise=0.9))], [], id="noise proves nothing"),
    ],
)
def test_experts(stories: list[tuple[str, str, Incident]], expected: list[str]) -> None:
    responses = {
        one.incident_id: Response(one.incident_id, "default", 0, assignee=who, fix=fix)
        for who, fix, one in stories
    }
    found = experts(incident(), [one for *_, one in stories], responses, people=["ann", "bob"], now=NOW)
    assert found == expected


async def test_a_calendar_that_breaks_off_is_a_gap_and_no_silence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever asks would tell nobody of anything, as long as that event stands there."""

    def broken(*_: object) -> None:
        raise ValueError("an event from the year 0")

    (tmp_path / "rota.ics").write_text(FEED, newline="")
    found = await read(rotas({"ical": str(tmp_path / "rota.ics")}))
    monkeypatch.setattr("webhooks.respond.rota.on_call_by", broken)
    assert found.on_call("s", berlin("2026-03-02T09:00")) is None


async def test_a_feed_without_end_is_not_read_into_memory(
    tool: tuple[dict[str, Any], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("webhooks.respond.rota.MAX_BYTES", 100)
    with pytest.raises(NotifyError, match="longer than 100 bytes"):
        await read(rotas({"ical": f"{tool[1]}feed.ics"}))
