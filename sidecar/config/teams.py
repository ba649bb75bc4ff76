"""The configuration of who answers: people, their shifts, teams and their escalation."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, Field, NaiveDatetime, SecretStr, model_validator

from sidecar.config.channels import NAME, Priority
from sidecar.config.fields import LastingSeconds, PositiveSeconds, Seconds
from sidecar.config.hours import WEEKDAYS, Hours, Span, Weekday, Zone
from sidecar.config.section import Section


def _is_pattern(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"{text!r} is no regular expression: {error}") from error
    return text


Match = dict[str, Annotated[str, AfterValidator(_is_pattern)]]
"""Labels and the regular expressions that their whole values match, as in Alertmanager; all must."""


class Person(Section):
    """Somebody who can be on call, and the targets that reach them."""

    name: str = Field(pattern=NAME)
    targets: tuple[str, ...] = Field(min_length=1)
    known_as: tuple[str, ...] = Field((), description="names and addresses by which other tools call them")


class Rotation(Section):
    """People who take turns. Turns change at the same time of the local day, also over daylight saving."""

    people: tuple[str, ...] = Field(min_length=1)
    start: NaiveDatetime = Field(description="local time at which the first person's first turn begins")
    every: LastingSeconds = Field(7 * 86400.0, description="length of a turn")
    days: tuple[Weekday, ...] = Field(WEEKDAYS, min_length=1)
    span: Span = Field("00:00-24:00", description="hours of the day that it covers")


class Override(Section):
    """Somebody stands in. Local times of the schedule; the end is not included."""

    person: str
    start: NaiveDatetime
    end: NaiveDatetime

    @model_validator(mode="after")
    def _forward(self) -> Self:
        if self.end <= self.start:
            raise ValueError("ends before it starts")
        return self


class RotaSource(Section):
    """Where another tool says who is on call: an iCal feed or file, or JSON by HTTP."""

    ical: str | None = Field(None, min_length=1, description="http(s) address or file of a calendar")
    url: str | None = Field(None, pattern=r"^https?://", description="answers JSON")
    field: str = Field("", description="place in the JSON, such as oncalls.0.user.summary")
    token: SecretStr | None = None
    token_file: Path | None = None
    token_kind: str = Field(
        "Bearer", pattern=r"^[A-Za-z]+( token=)?$", description="PagerDuty: `Token token=`"
    )
    refresh: PositiveSeconds = Field(300.0, ge=10.0)

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if (self.ical is None) == (self.url is None):
            raise ValueError("needs exactly one of ical and url")
        if self.token is not None and self.token_file is not None:
            raise ValueError("token and token_file exclude each other; keep one")
        return self


class Schedule(Section):
    """Who is on call when: the first rotation that covers the moment, unless an override does."""

    name: str = Field(pattern=NAME)
    timezone: Zone = "UTC"
    rotations: tuple[Rotation, ...] = ()
    source: RotaSource | None = Field(None, description="another tool, in place of rotations")
    overrides: tuple[Override, ...] = ()

    @model_validator(mode="after")
    def _somewhere(self) -> Self:
        if bool(self.rotations) == (self.source is not None):
            raise ValueError("needs either rotations or source")
        return self


class Step(Section):
    """One step of an escalation: targets, or whoever is on call."""

    targets: tuple[str, ...] = ()
    on_call: str | None = Field(None, description="a schedule's name")
    experts: int = Field(0, ge=0, le=10, description="so many who took on similar incidents before")
    after: Seconds = Field(0.0, description="time since the first message without acknowledgement")

    @model_validator(mode="after")
    def _somebody(self) -> Self:
        if not self.targets and self.on_call is None and not self.experts:
            raise ValueError("tells nobody; give targets, on_call or experts")
        return self


class QuietHours(Hours):
    """Hours in which only the urgent is told; the rest waits for their end."""

    wakes: Priority = Field("P1", description="this and what is more urgent is told all the same")


class Team(Section):
    """Who owns what, and who is told in which order."""

    name: str = Field(pattern=NAME)
    match: Match = Field(default_factory=dict, description="labels; empty takes what no other team takes")
    steps: tuple[Step, ...] = Field(min_length=1)
    acknowledgement: PositiveSeconds = Field(
        3600.0, description="so long an acknowledgement stops the escalation"
    )
    quiet: tuple[QuietHours, ...] = ()
    weekly_report: tuple[str, ...] = Field((), description="targets that get the noise report once a week")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        times = [step.after for step in self.steps]
        if times != sorted(times):
            raise ValueError("steps are not in the order of their `after`")
        if times[0] > 0:
            raise ValueError("the first step has to begin at once; leave its `after` out")
        return self


def check_names(
    people: Iterable[Person], schedules: Iterable[Schedule], teams: Iterable[Team], targets: Collection[str]
) -> None:
    """See that whatever is named exists, and no name is used twice.

    Raises: ValueError.
    """
    people, schedules, teams = list(people), list(schedules), list(teams)
    for kind, named in (("people", people), ("schedules", schedules), ("teams", teams)):
        names = [one.name for one in named]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"{kind}: the name {name!r} is used twice; names must be unique")
    persons = {person.name for person in people}
    shifts = {schedule.name for schedule in schedules}
    for person in people:
        _known(f"people: {person.name}", person.targets, targets, "target")
    for schedule in schedules:
        at = f"schedules: {schedule.name}"
        for rotation in schedule.rotations:
            _known(at, rotation.people, persons, "person")
        _known(at, [override.person for override in schedule.overrides], persons, "person")
    for team in teams:
        _known(f"teams: {team.name}", team.weekly_report, targets, "target")
        for step in team.steps:
            _known(f"teams: {team.name}", step.targets, targets, "target")
            _known(f"teams: {team.name}", [step.on_call] if step.on_call else [], shifts, "schedule")


def _known(at: str, names: Iterable[str], known: Collection[str], kind: str) -> None:
    for name in names:
        if name not in known:
            raise ValueError(
                f"{at}: there is no {kind} {name!r}; known: {', '.join(sorted(known)) or 'none'}"
            )
