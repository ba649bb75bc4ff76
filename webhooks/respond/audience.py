"""Who is told of an incident, as teams, shifts and pauses have it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence

from sidecar.config.model import Config
from sidecar.config.teams import Team
from sidecar.records import Incident
from webhooks.respond.desk import Desk
from webhooks.respond.enrich import Enricher
from webhooks.respond.explaining import Explained
from webhooks.respond.lifecycle import PAUSED, expire, waited_seconds
from webhooks.respond.links import VALID_SECONDS, Link, sign
from webhooks.respond.routing import maintained, quiet, team_of, told_now

MAX_EXPERTS = 3
"""So many are named in a message."""
FEEDBACK_WORDS = {
    "useful": "Useful",
    "noise": "Noise",
    "duplicate": "Duplicate",
    "wrong_merge": "Wrongly merged",
}


async def _undrawn(_: Sequence[Incident]) -> None:
    """Where there are no pictures."""


class TeamAudience:
    """Answers of one configuration."""

    def __init__(
        self,
        config: Config,
        desk: Desk,
        *,
        secret: bytes,
        enricher: Enricher,
        draw: Callable[[Sequence[Incident]], Awaitable[None]] = _undrawn,
        on_call: Callable[[str, float], str | None],
        experts: Callable[[Incident], Sequence[str]] = lambda _: (),
        owner: Callable[[str], str] = lambda _: "",
        before: Callable[[Incident], str] = lambda _: "",
        now: Callable[[], float] = time.time,
    ) -> None:
        self._teams = config.teams
        self._on_call = on_call
        self._experts = experts
        self._owner = owner
        self._people = {person.name: person for person in config.people}
        self._response = config.response
        self._desk = desk
        self._secret = secret
        self._before = before
        self._enricher = enricher
        self._draw = draw
        self._now = now
        bound = {name for person in config.people for name in person.targets}
        bound |= {name for team in config.teams for step in team.steps for name in step.targets}
        bound |= {target.fallback for target in config.notify.targets if target.fallback}
        self._for_all = [target.name for target in config.notify.targets if target.name not in bound]
        self._held: dict[str, str] = {}
        self._explained_at: tuple[int, int] | None = None
        self._open = Explained((), ())

    def listeners(self, incident: Incident, *, now: float, since: float | None) -> Collection[str]:
        """Targets that are bound to nobody, and those of the team's steps that are reached."""
        team = self._team(incident)
        if team is None:
            return self._for_all
        response = self._desk.response(incident.incident_id)
        if response is not None and self._stale(team, incident, now):
            response = expire(response, int(now * 1e9))
            self._desk.change(response, "unacknowledged", response.open_again)
        if response is not None and response.team != team.name:
            response.team = team.name
            self._desk.change(response, "team", team.name)
        waited = 0.0 if since is None else waited_seconds(response, since=since, now=now)
        reached = told_now(
            team,
            elapsed_seconds=waited,
            now=now,
            on_call=self._on_call,
            people=self._people,
            experts=self._experts(incident) if any(step.experts for step in team.steps) else (),
        )
        return [*self._for_all, *reached]

    def held_back(self, incident: Incident, *, now: float) -> str:
        """Maintenance, quiet hours, or another incident that explains this one."""
        why = (
            maintained(incident, self._response.maintenance, now)
            or self._waits_for_morning(incident, now)
            or self._explained(now).why(incident)
        )
        if incident.state != "open":
            self._held.pop(incident.incident_id, None)
        elif self._held.get(incident.incident_id, "") != why:
            self._held[incident.incident_id] = why
            self._desk.note(incident.incident_id, "held", why or "no longer")
        return why

    def _explained(self, now: float) -> Explained:
        """What explains what of what is open now; looked at each minute, since quiet hours come and go."""
        at = self._desk.n_changes, int(now // 60)
        if self._response.dependencies and at != self._explained_at:
            # What itself waits for the morning must not keep what is more urgent waiting.
            told = [one for one in self._desk.open_incidents if not self._waits_for_morning(one, now)]
            self._open = Explained(told, self._response.dependencies)
            self._explained_at = at
        return self._open

    def _waits_for_morning(self, incident: Incident, now: float) -> str:
        team = self._team(incident)
        return quiet(team, incident, now) if team is not None else ""

    def status(self, incident: Incident) -> str:
        """As people have left it."""
        return self._desk.status(incident)

    async def prepare(self, incidents: Sequence[Incident]) -> None:
        """Ask tables and Prometheus, draw."""
        await asyncio.gather(self._enricher.prepare(incidents), self._draw(incidents))

    def facts(self, incident: Incident, *, target: str) -> Mapping[str, object]:
        """Team, people, links, what was found out, and what helped before."""
        team = self._team(incident)
        found = self._enricher.of(incident)
        response = self._desk.response(incident.incident_id)
        return {
            "team": team.name if team is not None else "",
            "assignee": response.assignee if response is not None else "",
            "acknowledged_by": response.acknowledged_by
            if response is not None and response.acknowledged_at_ns is not None
            else "",
            "open_again": response.open_again if response is not None else "",
            "before": self._before(incident),
            "experts": ", ".join(list(self._experts(incident))[:MAX_EXPERTS]),
            "links": self._links(incident, target, found.links),
            "facts": found.facts,
            "values": found.values,
        }

    def _team(self, incident: Incident) -> Team | None:
        cause = incident.causes[0].service if incident.causes else ""
        return team_of(
            incident, self._teams, table=self._enricher.owner(incident), topology=self._owner(cause)
        )

    def _stale(self, team: Team, incident: Incident, now: float) -> bool:
        """Whether the incident was acknowledged and then left alone for too long."""
        response = self._desk.response(incident.incident_id)
        if response is None or self._desk.status(incident) not in PAUSED or response.mitigated_at_ns:
            return False
        return now - (response.acknowledged_at_ns or 0) / 1e9 > team.acknowledgement

    def _links(self, incident: Incident, target: str, found: Mapping[str, str]) -> dict[str, str]:
        base = (self._response.external_url or "").rstrip("/")
        if not base:
            return dict(found)
        expires_at = int(self._now()) + VALID_SECONDS
        links = {"incident": f"{base}/incidents/{incident.incident_id}", **found}
        if incident.merged_into is not None:
            # Where to follow it is all that is left to say of it.
            into = incident.merged_into
            return {**links, f"Incident {into}": f"{base}/incidents/{into}"}
        for verdict, words in FEEDBACK_WORDS.items():
            link = Link(incident.incident_id, verdict, target)
            links[words] = f"{base}/feedback/{sign(link, secret=self._secret, expires_at=expires_at)}"
        return links
