"""Two rule sets on the same past: firings by rule, incidents caught by both, and how soon."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from rules.adapt.judge import caught, noise, troubled_by
from rules.adapt.uncertainty import within_by_chance
from rules.backtest.past import RulePast
from rules.incidents import KnownIncident


@dataclass(frozen=True, slots=True)
class Catch:
    """The soonest alert of an incident: which, and how many seconds after the start."""

    alert: str
    delay_seconds: float


@dataclass(frozen=True, slots=True)
class IncidentRow:
    """One incident, caught or not (None) before and after."""

    incident: KnownIncident
    before: Catch | None
    after: Catch | None

    def kept(self, interval_seconds: float) -> bool:
        """True where it is still caught, no later than one evaluation after it was before."""
        if self.before is None:
            return True
        return (
            self.after is not None
            and self.after.delay_seconds <= self.before.delay_seconds + interval_seconds
        )


@dataclass(frozen=True)
class Comparison:
    """Pasts of the same rules before and after, rule by rule, and what they are worth.

    `incidents`: those that lie wholly in the window; `known`: all.
    """

    before: Sequence[RulePast]
    after: Sequence[RulePast]
    incidents: Sequence[IncidentRow]
    interval_seconds: float
    known: Sequence[KnownIncident]

    @property
    def n_before(self) -> int:
        """All firings before."""
        return sum(len(past.firings) for past in self.before)

    @property
    def n_after(self) -> int:
        """All firings after."""
        return sum(len(past.firings) for past in self.after)

    @property
    def fall(self) -> float:
        """Share of the firings that is gone."""
        return 1 - self.n_after / self.n_before if self.n_before else 0.0

    @property
    def lost(self) -> list[IncidentRow]:
        """Incidents that were caught, and now are not or too late."""
        return [row for row in self.incidents if not row.kept(self.interval_seconds)]

    @cached_property
    def false_per_second(self) -> float:
        """False alarms of before, in the time without incidents."""
        false = sum(len(noise(past.firings, troubled_by(past.labels, self.known))) for past in self.before)
        window = self.before[0].window
        troubled = sum(row.incident.end_ms - row.incident.start_ms for row in self.incidents)
        return false / max((window.end_ms - window.start_ms - troubled) / 1000, 1.0)

    def by_noise(self, delay_seconds: float) -> float:
        """How probable it is that a false alarm of before fell into that time by chance."""
        return within_by_chance(self.false_per_second, delay_seconds + self.interval_seconds)


def compare(
    before: Sequence[RulePast], after: Sequence[RulePast], incidents: Sequence[KnownIncident]
) -> Comparison:
    """The comparison over the window of the pasts, for the incidents that lie wholly in it."""
    window = before[0].window
    inside = [i for i in incidents if i.start_ms >= window.start_ms and i.end_ms <= window.end_ms]
    rows = [IncidentRow(i, soonest(before, i), soonest(after, i)) for i in inside]
    return Comparison(before, after, rows, window.step_ms / 1000, incidents)


def soonest(pasts: Sequence[RulePast], incident: KnownIncident) -> Catch | None:
    """The alert that told of the incident first; None where none did."""
    delays = [
        (delay, past.rule.name)
        for past in pasts
        if (delay := caught(past.firings, past.labels, incident, past.rule.name)) is not None
    ]
    return Catch(min(delays)[1], min(delays)[0]) if delays else None
