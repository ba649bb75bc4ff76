"""Who is on call, over zones, overrides and daylight saving; and how far an escalation has come."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.config.hours import Hours
from sidecar.config.load import load_text
from sidecar.config.response import Maintenance
from sidecar.config.teams import Schedule, Team
from sidecar.errors import ConfigError
from tests.unit.webhooks.respond.incidents import incident
from webhooks.respond.hours import on_call, within
from webhooks.respond.routing import maintained, matches, quiet, team_of, told_now

BERLIN = Schedule.model_validate(
    {
        "name": "primary",
        "timezone": "Europe/Berlin",
        "rotations": [{"people": ["ann", "bob"], "start": "2026-03-02T09:00:00", "every": "7d"}],
        "overrides": [
            {"person": "cy", "start": "2026-03-04T18:00:00", "end": "2026-03-05T09:00:00"},
        ],
    }
)
OFFICE = Schedule.model_validate(
    {
        "name": "office",
        "timezone": "America/New_York",
        "rotations": [
            {
                "people": ["dan"],
                "start": "2026-01-01T00:00:00",
                "span": "09:00-17:00",
                "days": ["mon", "tue", "wed", "thu", "fri"],
            },
            {"people": ["eve"], "start": "2026-01-01T00:00:00", "span": "17:00-23:00"},
        ],
    }
)


def at(text: str, zone: str = "UTC", *, fold: int = 0) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold).timestamp()


@pytest.mark.parametrize(
    ("schedule", "moment", "person"),
    [
        pytest.param(BERLIN, at("2026-03-02T08:59", "Europe/Berlin"), None, id="before it begins"),
        pytest.param(BERLIN, at("2026-03-02T09:00", "Europe/Berlin"), "ann", id="its first minute"),
        pytest.param(BERLIN, at("2026-03-09T08:59", "Europe/Berlin"), "ann", id="her last minute"),
        pytest.param(BERLIN, at("2026-03-09T09:00", "Europe/Berlin"), "bob", id="handed over"),
        pytest.param(BERLIN, at("2026-03-09T08:30"), "bob", id="asked in another zone"),
        pytest.param(BERLIN, at("2026-03-04T18:00", "Europe/Berlin"), "cy", id="an override begins"),
        pytest.param(BERLIN, at("2026-03-05T08:59", "Europe/Berlin"), "cy", id="and lasts"),
        pytest.param(BERLIN, at("2026-03-05T09:00", "Europe/Berlin"), "ann", id="its end is not in it"),
        # Clocks went forward on 29 March 2026 at 02:00 and go back on 25 October at 03:00.
        pytest.param(BERLIN, at("2026-03-30T08:59", "Europe/Berlin"), "bob", id="a week of 167 hours"),
        pytest.param(
            BERLIN, at("2026-03-30T09:00", "Europe/Berlin"), "ann", id="changes at nine all the same"
        ),
        pytest.param(BERLIN, at("2026-10-26T08:59", "Europe/Berlin"), "bob", id="a week of 169 hours"),
        pytest.param(BERLIN, at("2026-10-26T09:00", "Europe/Berlin"), "ann", id="and at nine again"),
        pytest.param(OFFICE, at("2026-03-06T14:00"), "dan", id="nine in New York in winter"),
        pytest.param(OFFICE, at("2026-03-09T13:00"), "dan", id="nine in New York in summer"),
        pytest.param(OFFICE, at("2026-03-09T12:59"), None, id="a gap"),
        pytest.param(OFFICE, at("2026-03-07T14:00"), None, id="not on Saturday"),
        pytest.param(OFFICE, at("2026-03-07T18:00", "America/New_York"), "eve", id="the second rotation"),
    ],
)
def test_on_call(schedule: Schedule, moment: float, person: str | None) -> None:
    assert on_call(schedule, moment) == person


@given(st.integers(int(at("2026-03-02T09:00", "Europe/Berlin")), int(at("2030-01-01T00:00"))))
def test_somebody_is_always_on_call_and_turns_change_only_at_nine(second: int) -> None:
    schedule = BERLIN.model_copy(update={"overrides": ()})
    now, before = on_call(schedule, second), on_call(schedule, second - 1)
    assert now in ("ann", "bob")
    if before is not None and now != before:
        clock = datetime.fromtimestamp(second, ZoneInfo("Europe/Berlin"))
        assert (clock.weekday(), clock.hour, clock.minute, clock.second) == (0, 9, 0, 0)


@pytest.mark.parametrize(
    ("span", "days", "moment", "inside"),
    [
        pytest.param("22:00-07:00", ("fri",), "2026-01-02T23:00", True, id="in the evening"),
        pytest.param("22:00-07:00", ("fri",), "2026-01-03T06:59", True, id="in the morning after"),
        pytest.param("22:00-07:00", ("fri",), "2026-01-03T07:00", False, id="its end"),
        pytest.param("22:00-07:00", ("fri",), "2026-01-02T06:00", False, id="the morning before"),
        pytest.param("00:00-24:00", ("sat",), "2026-01-03T23:59", True, id="a whole day"),
        pytest.param("00:00-24:00", ("sat",), "2026-01-04T00:00", False, id="the next day"),
    ],
)
def test_hours(span: str, days: tuple[str, ...], moment: str, inside: bool) -> None:
    hours = Hours.model_validate({"span": span, "days": days, "timezone": "Asia/Tokyo"})
    assert within(hours, at(moment, "Asia/Tokyo")) is inside


TEAM = Team.model_validate(
    {
        "name": "shop",
        "match": {"namespace": "shop|cart"},
        "steps": [
            {"targets": ["chat"]},
            {"on_call": "primary", "after": "5m"},
            {"targets": ["boss"], "after": "20m"},
        ],
        "quiet": [{"span": "22:00-07:00", "timezone": "UTC"}],
    }
)
CONFIG = load_text(
    """
people: [{name: ann, targets: [ann]}, {name: bob, targets: [bob, chat]}, {name: cy, targets: [cy]}]
notify:
  targets:
    - {name: ann, url: "http://x"}
    - {name: bob, url: "http://x"}
    - {name: cy, url: "http://x"}
    - {name: chat, url: "http://x"}
    - {name: boss, url: "http://x"}
"""
)
PEOPLE = {person.name: person for person in CONFIG.people}


@pytest.mark.parametrize(
    ("elapsed", "now", "targets"),
    [
        pytest.param(0, "2026-03-03T12:00", ["chat"], id="at once"),
        pytest.param(299, "2026-03-03T12:00", ["chat"], id="not yet"),
        pytest.param(300, "2026-03-03T12:00", ["chat", "ann"], id="whoever is on call"),
        pytest.param(300, "2026-03-10T12:00", ["chat", "bob"], id="another week, another person, chat once"),
        pytest.param(1200, "2026-03-03T12:00", ["chat", "ann", "boss"], id="the last step"),
        pytest.param(300, "2026-03-01T12:00", ["chat", "boss"], id="nobody on call: the next step at once"),
    ],
)
def test_escalation(elapsed: float, now: str, targets: list[str]) -> None:
    found = told_now(
        TEAM,
        elapsed_seconds=elapsed,
        now=at(now),
        on_call=lambda _, moment: on_call(BERLIN, moment),
        people=PEOPLE,
    )
    assert found == targets


@pytest.mark.parametrize(
    ("experts", "targets"),
    [
        pytest.param(["bob", "ann"], ["bob", "chat"], id="the most experienced"),
        pytest.param([], ["boss"], id="nobody knows such: the next step at once"),
    ],
)
def test_experts_are_a_step(experts: list[str], targets: list[str]) -> None:
    steps = [{"experts": 1}, {"targets": ["boss"], "after": "20m"}]
    team = Team.model_validate({"name": "shop", "steps": steps})
    found = told_now(
        team, elapsed_seconds=0, now=0.0, on_call=lambda _, __: None, people=PEOPLE, experts=experts
    )
    assert found == targets


REST = Team.model_validate({"name": "rest", "steps": [{"targets": ["chat"]}]})


@pytest.mark.parametrize(
    ("labels", "team"),
    [
        pytest.param({"namespace": "shop"}, "shop", id="a label"),
        pytest.param({"namespace": "shopping"}, "rest", id="the whole value"),
        pytest.param({}, "rest", id="what is left"),
    ],
)
def test_teams(labels: dict[str, str], team: str) -> None:
    found = team_of(incident(shared_labels=labels), [REST, TEAM])
    assert found is not None
    assert found.name == team


OTHER = Team.model_validate({"name": "dba", "match": {"x": "y"}, "steps": [{"targets": ["chat"]}]})


@pytest.mark.parametrize(
    ("labels", "table", "topology", "team"),
    [
        pytest.param({"namespace": "shop"}, "dba", "", "dba", id="a table wins"),
        pytest.param({"namespace": "shop"}, "", "dba", "shop", id="matchers win over the topology"),
        pytest.param({}, "", "dba", "dba", id="the topology wins over what takes the rest"),
        pytest.param({}, "nobody", "nobody", "rest", id="owners that are no team"),
    ],
)
def test_owners(labels: dict[str, str], table: str, topology: str, team: str) -> None:
    one = incident(shared_labels=labels)
    found = team_of(one, [REST, TEAM, OTHER], table=table, topology=topology)
    assert found is not None
    assert found.name == team


def test_no_team_takes_what_none_matches() -> None:
    assert team_of(incident(), [TEAM]) is None


@pytest.mark.parametrize(
    ("priority", "now", "waits"),
    [
        pytest.param("P2", "2026-01-01T23:00", True, id="at night"),
        pytest.param("P1", "2026-01-01T23:00", False, id="the urgent wakes"),
        pytest.param("P2", "2026-01-01T12:00", False, id="by day"),
    ],
)
def test_quiet_hours(priority: str, now: str, waits: bool) -> None:
    assert bool(quiet(TEAM, incident(priority=priority), at(now))) is waits


@pytest.mark.parametrize(
    ("window", "now", "covered"),
    [
        pytest.param(
            {"start": "2026-01-01T00:00:00Z", "end": "2026-01-01T02:00:00+01:00"}, "00:30", True, id="in"
        ),
        pytest.param(
            {"start": "2026-01-01T00:00:00Z", "end": "2026-01-01T02:00:00+01:00"}, "01:00", False, id="over"
        ),
        pytest.param({"hours": {"span": "00:00-04:00", "days": ["thu"]}}, "03:00", True, id="recurring"),
        pytest.param({"hours": {"span": "00:00-04:00", "days": ["fri"]}}, "03:00", False, id="another day"),
    ],
)
def test_maintenance(window: dict[str, object], now: str, covered: bool) -> None:
    one = Maintenance.model_validate({"match": {"service": "db"}, **window})
    assert bool(maintained(incident(), [one], at(f"2026-01-01T{now}"))) is covered
    other = Maintenance.model_validate({"match": {"service": "web"}, **window})
    assert not maintained(incident(), [other], at(f"2026-01-01T{now}"))


def test_a_label_that_is_absent_is_empty() -> None:
    assert matches({"cluster": ""}, {})
    assert not matches({"cluster": ".+"}, {})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("people: [{name: a, targets: [nowhere]}]", "no target 'nowhere'"),
        ("schedules: [{name: s, rotations: [{people: [x], start: 2026-01-01T00:00:00}]}]", "no person 'x'"),
        ("teams: [{name: t, steps: [{on_call: s}]}]", "no schedule 's'"),
        ("teams: [{name: t, steps: [{}]}]", "tells nobody"),
        (
            "{notify: {targets: [{name: p, pagerduty: {routing_key: r}}]}, "
            "teams: [{name: t, steps: [{targets: [p]}], weekly_report: [p]}]}",
            "is a pager",
        ),
        ("schedules: [{name: s}]", "either rotations or source"),
        ("schedules: [{name: s, source: {}}]", "exactly one of ical and url"),
        ("schedules: [{name: s, timezone: Mars/Olympus, rotations: []}]", "is no time zone"),
        ("response: {maintenance: [{match: {a: b}}]}", "needs either start and end, or hours"),
        ("response: {maintenance: [{match: {a: '('}, hours: {}}]}", "is no regular expression"),
        ("notify: {targets: [{name: a, url: 'http://x', fallback: b}]}", "no target 'b'"),
        ("notify: {targets: [{name: a}]}", "needs exactly one of"),
        ("notify: {targets: [{name: a, slack: {channel: C1}}]}", "exactly one of token and token_file"),
        (
            "notify: {targets: [{name: a, email: {server: h, sender: a@b, to: [c@d], username: u}}]}",
            "username goes",
        ),
    ],
)
def test_what_does_not_fit_is_refused(text: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_text(text)
    assert words in str(caught.value)
