"""What the weekly report hands on: which changes, once a week, and as a patch of the rules' own files."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from sidecar.cli.rule_patch import patch_of
from sidecar.config.teams import Team
from sidecar.events import EventBus
from sidecar.records import Episode, Feedback, Incident, OutboxMessage, Response
from tests.unit.webhooks.respond.incidents import Clock, episode
from webhooks.quieten.flapping import Proposal
from webhooks.respond.noise_report import by_rule
from webhooks.respond.noise_week import NOTE, WEEK_SECONDS, Handed, NoiseWeek, changes_of

FLAPS = [episode("Flaps", n, lasted=50.0, home=f"i{n}", at=-600.0 * n) for n in range(10)]


class Store:
    """A stored past, and notes."""

    def __init__(self, episodes: list[Episode]) -> None:
        self.kept: dict[str, bytes] = {}
        self.past = episodes
        self.response_store = self

    async def note(self, name: str) -> bytes | None:
        return self.kept.get(name)

    async def put_note(self, name: str, body: bytes) -> None:
        self.kept[name] = body

    async def incidents(self, *, limit: int = 100, state: str | None = None) -> list[Incident]:
        return []

    async def episodes_begun(self, since_ns: int, *, limit: int) -> list[Episode]:
        return self.past

    async def messages_of_recent_incidents(self, since_ns: int) -> list[OutboxMessage]:
        return []

    async def responses(self, *, open_only: bool = False, since_ns: int = 0) -> list[Response]:
        return [Response(f"i{n}", "default", 0, team="shop") for n in range(10)]

    async def feedback(self, *, since_ns: int = 0) -> list[Feedback]:
        return []


async def test_it_is_made_once_a_week_and_says_what_is_new() -> None:
    store, bus, clock = Store(FLAPS), EventBus(), Clock()
    sent: list[tuple[str, str, str]] = []

    async def send(target: str, name: str, *, title: str, text: str) -> None:
        sent.append((target, name, title))
        assert "| Flaps | 10 |" in text

    steps = [{"targets": ["chat"]}]
    teams = [
        Team.model_validate({"name": "shop", "steps": steps, "weekly_report": ["mail"]}),
        Team.model_validate({"name": "rest", "steps": steps}),
    ]
    week = NoiseWeek(store, store, teams=lambda: teams, send=send, bus=bus, now=clock)
    with bus.subscribe() as events:
        assert not await week.look(), "the first look begins the week"
        clock.now += WEEK_SECONDS
        assert await week.look()
        assert not await week.look()
        assert sent == [("mail", "noise-report-shop-2025-06-22", "Noise of shop, week before 2025-06-22")]
        clock.now += WEEK_SECONDS
        assert await week.look()
        heard = [(await anext(aiter(events))).kind for _ in range(3)]
    assert heard == ["report.noise", "rule.change_proposed", "report.noise"]
    handed = msgspec.json.decode(store.kept[NOTE], type=Handed)
    (change,) = handed.changes
    assert (change.alertname, change.field, change.seconds) == ("Flaps", "for", 60.0)
    assert "10 of 10 that ended by themselves" in change.reason


async def test_a_report_of_while_the_clock_was_ahead_delays_the_next_by_no_more_than_a_week() -> None:
    store, clock = Store(FLAPS), Clock()

    async def send(*_: str, **__: str) -> None:
        raise AssertionError("there is no team to be told")

    week = NoiseWeek(store, store, teams=lambda: [], send=send, bus=EventBus(), now=clock)
    clock.now += 365 * 86_400
    await week.look()
    clock.now -= 365 * 86_400
    assert await week.look()
    assert not await week.look()


def test_a_change_that_would_have_hidden_what_people_took_on_is_not_handed_on() -> None:
    taken = [episode("Flaps", 20 + n, lasted=30.0, home=f"t{n}", at=-60.0 * n) for n in range(5)]
    responses = {f"t{n}": Response(f"t{n}", "default", 0, first_acknowledged_at_ns=1) for n in range(5)}
    assert changes_of(by_rule([*FLAPS, *taken], responses, [])) == []


RULES = """groups:
  - name: shop
    rules:
      # Why it is there.
      - alert: Flaps
        expr: up == 0
        for: 1m
      - alert: Stays
        expr: up == 0
      - alert: Flaps
        expr: up == 1
        labels: {pronoia: ignore}
"""


@pytest.mark.parametrize(
    ("field", "line"), [("for", "+        for: 3m"), ("keep_firing_for", "+        keep_firing_for: 2m")]
)
def test_changes_are_a_patch_of_the_rules_own_files(tmp_path: Path, field: str, line: str) -> None:
    file = tmp_path / "shop.yaml"
    file.write_text(RULES)
    changes = [
        Proposal("default", "Flaps", field, 120.0, 1, 1, ""),
        Proposal("default", "No", "for", 9, 1, 1, ""),
    ]
    patch = patch_of(changes, [tmp_path])
    assert [one for one in patch.splitlines() if one[:1] == "+" and one[:3] != "+++"] == [line]
    removed = [one for one in patch.splitlines() if one[:1] == "-" and one[:3] != "---"]
    assert removed == (["-        for: 1m"] if field == "for" else []), "comments and other rules stay"
