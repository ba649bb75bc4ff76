"""Once a week: what rang for nothing, told to the teams, and the changes that would have ended it handed on.

The changes lie in the store under `NOTE` and go out as events, in the form in which those of
flapping rules do (webhooks/quieten/flap_report.py), for the rules loop to test and publish.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Protocol

import msgspec

from sidecar.background import Background
from sidecar.config.teams import Team
from sidecar.errors import StoreError
from sidecar.events import Event, EventBus
from sidecar.records import DEFAULT_TENANT
from sidecar.telemetry import get_logger
from webhooks.notes import NoteStore
from webhooks.quieten.flapping import Proposal
from webhooks.respond.noise_report import RuleNoise, by_rule, longer_for, noise_report
from webhooks.respond.past import AlertPast, PastStore
from webhooks.respond.routing_proposals import as_yaml, proposals

NOTE = "rule changes proposed by the noise report"
"""Under this name the store holds `Handed`."""
WEEK_SECONDS = 7 * 86400.0
LOOK_SECONDS = 3600.0
MAX_TAKEN_SHARE = 0.1
"""A longer `for` that would have hidden more of what people took on is not handed on."""


class Send(Protocol):
    """The way of a report to a target."""

    async def __call__(self, target: str, name: str, *, title: str, text: str) -> None:
        """Put it on its way. Raises: StoreError."""
        ...


class Handed(msgspec.Struct):
    """The newest report's changes, and when it was made, seconds since the epoch."""

    at: float = 0.0
    changes: list[Proposal] = []


def changes_of(rules: dict[str, RuleNoise]) -> list[Proposal]:
    """A longer `for` for each rule whose alerts mostly end by themselves; `seconds` is what to add."""
    found = []
    for rule, row in rules.items():
        longer = longer_for(row)
        if longer is None:
            continue
        seconds, n_hidden, n_taken = longer
        if n_taken > MAX_TAKEN_SHARE * max(len(row.taken), 1):
            continue
        reason = f"{n_hidden} of {len(row.short)} that ended by themselves would not have fired"
        reason += f", nor {n_taken} of {len(row.taken)} that people took on"
        found.append(Proposal(DEFAULT_TENANT, rule, "for", seconds, row.n_alerts, row.n_alerts, reason))
    return found


def _changes(past: AlertPast) -> list[Proposal]:
    return changes_of(by_rule(past.episodes, past.responses, past.feedback))


class NoiseWeek:
    """Looks every hour whether a week has passed."""

    def __init__(
        self,
        notes: NoteStore,
        past: PastStore,
        *,
        teams: Callable[[], Iterable[Team]],
        send: Send,
        bus: EventBus,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._teams = teams
        self._send = send
        self._notes = notes
        self._past = past
        self._bus = bus
        self._now = now
        self._task = Background("noise-week")
        self._log = get_logger("noise-week")

    def start(self) -> None:
        """Begin to look."""
        self._task.start(self._run())

    async def stop(self) -> None:
        """End."""
        await self._task.stop()

    async def _run(self) -> None:
        while True:
            try:
                await self.look()
            except StoreError as error:
                self._log.warning("weekly noise report not made, will try again", err=str(error))
            except Exception:
                # The loop's edge: an odd past must not end the looking.
                self._log.exception("the weekly noise report broke off")
            await asyncio.sleep(LOOK_SECONDS)

    async def look(self) -> bool:
        """Make the report where a week has passed since the last, or since the first look; whether it was.

        Raises: StoreError.
        """
        stored = await self._notes.note(NOTE)
        now = self._now()
        if stored is None:
            await self._notes.put_note(NOTE, msgspec.json.encode(Handed(now)))
            return False
        before = msgspec.json.decode(stored, type=Handed)
        # Either way: the clock may have been ahead at the last one, and the next would wait for that.
        if abs(now - before.at) < WEEK_SECONDS:
            return False
        await self._tell_teams(now)
        past = await AlertPast.read(self._past, since_ns=int((now - WEEK_SECONDS) * 1e9))
        changes = await asyncio.to_thread(_changes, past)
        await self._notes.put_note(NOTE, msgspec.json.encode(Handed(now, changes)))
        facts = {
            "n_alerts": len(past.episodes),
            "n_incidents": len(past.incidents),
            "n_messages": past.n_messages,
            "n_changes": len(changes),
        }
        self._log.info("weekly noise report", **facts)
        self._bus.publish(Event("report.noise", now, facts))
        for one in changes:
            if one not in before.changes:
                self._bus.publish(Event("rule.change_proposed", now, msgspec.to_builtins(one)))
        return True

    async def _tell_teams(self, now: float) -> None:
        since_ns = int((now - WEEK_SECONDS) * 1e9)
        day = datetime.fromtimestamp(now, UTC).date().isoformat()
        for team in self._teams():
            if not team.weekly_report:
                continue
            past = await AlertPast.read(self._past, since_ns=since_ns, team=team.name)
            title = f"Noise of {team.name}, week before {day}"
            text = await asyncio.to_thread(_report, title, past)
            for target in team.weekly_report:
                await self._send(target, f"noise-report-{team.name}-{day}", title=title, text=text)


def _report(title: str, past: AlertPast) -> str:
    found = proposals(past.incidents, past.episodes, past.responses, past.feedback)
    return noise_report(
        title,
        past.incidents,
        past.episodes,
        past.responses,
        past.feedback,
        n_messages=past.n_messages,
        ready=as_yaml(found),
    ).markdown()
