"""Whose an incident is, and how far its escalation has come. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from sidecar.config.response import Maintenance
from sidecar.config.teams import Person, Team
from sidecar.records import Incident
from webhooks.respond.hours import within


def labels_of(incident: Incident) -> dict[str, str]:
    """What matchers see: the labels that all its alerts share, and what was concluded."""
    cause = {"service": incident.causes[0].service} if incident.causes else {}
    own = {"priority": incident.priority, "category": incident.category, "tenant": incident.tenant}
    return {**cause, **incident.shared_labels, **own}


def matches(match: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    """Whether each expression matches its whole label; a label that is absent is empty.

    >>> matches({"job": "api|web"}, {"job": "web"}), matches({"job": "api"}, {"job": "apis"})
    (True, False)
    """
    return all(re.fullmatch(pattern, labels.get(name, "")) for name, pattern in match.items())


def team_of(incident: Incident, teams: Sequence[Team], *, table: str = "", topology: str = "") -> Team | None:
    """Whose an incident is, or None: the most explicit word wins.

    A table names the owner (`table`); else the first team whose matchers fit; else the owner of the
    probable cause by the topology (`topology`); else the first team without matchers.
    """
    labels = labels_of(incident)
    named = [team for team in teams if table and team.name == table]
    fitting = [team for team in teams if team.match and matches(team.match, labels)]
    owning = [team for team in teams if topology and team.name == topology]
    rest = [team for team in teams if not team.match]
    return next(iter([*named, *fitting, *owning, *rest]), None)


def told_now(
    team: Team,
    *,
    elapsed_seconds: float,
    now: float,
    on_call: Callable[[str, float], str | None],
    people: Mapping[str, Person],
    experts: Sequence[str] = (),
) -> list[str]:
    """The targets of all steps that are reached.

    `elapsed_seconds`: time without acknowledgement since the first message. `on_call`: asked for a
    schedule and a moment. `experts`: who knows such incidents, the most experienced first. A step
    that reaches nobody counts for nothing, so the next is taken at once.
    """
    targets: list[str] = []
    empty = False
    for step in team.steps:
        if step.after > elapsed_seconds and not empty:
            break
        found = list(step.targets)
        if step.on_call is not None:
            person = on_call(step.on_call, now)
            found += people[person].targets if person is not None else ()
        for expert in experts[: step.experts]:
            found += people[expert].targets
        targets += found
        empty = not found
    return list(dict.fromkeys(targets))


def quiet(team: Team, incident: Incident, now: float) -> str:
    """Why an incident has to wait for the morning; empty where it has not."""
    for hours in team.quiet:
        if incident.priority > hours.wakes and within(hours, now):
            return f"quiet hours of {team.name} ({hours.span} {hours.timezone})"
    return ""


def maintained(incident: Incident, windows: Sequence[Maintenance], now: float) -> str:
    """Which maintenance covers an incident; empty where none does."""
    labels = labels_of(incident)
    for window in windows:
        if window.hours is not None:
            active = within(window.hours, now)
        else:
            assert window.start is not None
            assert window.end is not None
            active = window.start.timestamp() <= now < window.end.timestamp()
        if active and matches(window.match, labels):
            return f"maintenance {window.comment}".strip()
    return ""
