"""Made-up incidents on a flat series and on one with a daily cycle: what happens, and what must follow."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from sidecar.series import FloatArray

STEP_SECONDS = 60
DAY = 1440
LEARN_DAYS, AFTER_DAYS = 14, 3
START_SECONDS = 1_790_000_000 // 86400 * 86400
N_STEPS = (LEARN_DAYS + AFTER_DAYS) * DAY
ONSET = LEARN_DAYS * DAY
"""Every incident begins at the same step, so that one query judges all; other hours are other phases."""

SECOND_INCIDENT = 2 * DAY
"""Of a shift that stays: how long after the onset the next incident comes on the new level."""

NOISE = 0.05
KINDS = ("flat", "daily")
USUAL_ERRORS = 0.02
Change = Callable[[FloatArray], None]


@dataclass(frozen=True)
class Expected:
    """What an alert with `for: 5m` must do; minutes after the onset, shares of the incident's length."""

    within_minutes: int | None = None
    """None: it must never fire."""
    stays_share: float = 0.0
    until_minutes: int | None = None
    """A shift that stays: silent from then on, until the next incident."""


@dataclass(frozen=True)
class Maintenance:
    """A pause of the configuration, in minutes from the onset; `learn`: what happens in it teaches."""

    begin: int
    end: int
    learn: bool


@dataclass(frozen=True)
class Incident:
    """One line of the behaviour contract: `change` is applied to a clean series in place."""

    name: str
    change: Change
    minutes: int
    expected: Expected
    counter: bool = False
    """Exposed as a counter and watched as its rate."""
    deploy: Literal["", "replaces", "joins"] = ""
    """At the onset one pod takes the place of another, or joins it; a change is the new pod's."""
    spike_hours: int | None = None
    """So long before the onset is a spike, whose own minutes are no false ones."""
    maintenance: Maintenance | None = None
    failing: Callable[[FloatArray], FloatArray] | None = None
    """The series is requests a minute, of which the share that fails is watched: errors from the onset on."""
    phases: tuple[int, ...] = (0,)
    """Hours of the day at the onset, relative to the cycle's mean while it rises."""


@dataclass(frozen=True)
class Scenario:
    """An incident on one series, or on pods that follow one another; values (N_STEPS,) by pod."""

    incident: Incident
    kind: str
    phase: int
    pods: dict[str, FloatArray] = field(repr=False)
    errors: FloatArray | None = field(default=None, repr=False)
    """Of the requests a minute, (N_STEPS,), where their share is watched; None: the load is."""

    @property
    def name(self) -> str:
        """What the series is called in labels."""
        return f"{self.incident.name}, {self.kind}" + (f", {self.phase} h" if self.phase else "")


def clean(kind: str, seed: int, phase_hours: float = 0.0) -> FloatArray:
    """A series of level 100 with 5 % noise, flat or with a daily cycle of ±50 %; shape (N_STEPS,)."""
    t = np.arange(N_STEPS)
    cycle = 0.5 * np.sin(2 * np.pi * (t - ONSET + 60 * phase_hours) / DAY) if kind == "daily" else 0.0
    return np.asarray(100 * (1 + cycle) * (1 + NOISE * np.random.default_rng(seed).normal(size=N_STEPS)))


def times(factor: float, minutes: int, *, begin: int = 0) -> Change:
    """The series times `factor` for so long."""

    def change(values: FloatArray) -> None:
        values[ONSET + begin : ONSET + begin + minutes] *= factor

    return change


def both(*changes: Change) -> Change:
    """One change after the other."""

    def change(values: FloatArray) -> None:
        for one in changes:
            one(values)

    return change


def stuck(minutes: int) -> Change:
    """The same value again and again."""

    def change(values: FloatArray) -> None:
        values[ONSET : ONSET + minutes] = values[ONSET]

    return change


def vanishes(values: FloatArray) -> None:
    """No samples for an hour."""
    values[ONSET : ONSET + 60] = np.nan


def leaks(values: FloatArray) -> None:
    """One percent more each hour."""
    values[ONSET:] *= 1 + 0.01 * np.arange(N_STEPS - ONSET) / 60


def clock_changes(values: FloatArray) -> None:
    """People and their habits move by an hour; ours is a series that follows them."""
    values[ONSET:-60] = values[ONSET + 60 :].copy()


def has_a_daily_job(values: FloatArray) -> None:
    """Ten minutes of three times the load at the same time each day; seen five times when alerts begin."""
    for day in range(LEARN_DAYS - 6, LEARN_DAYS + AFTER_DAYS):
        at = day * DAY + 200
        values[at : at + 10] *= 3


def hardly_used(values: FloatArray) -> None:
    """Three requests in five minutes."""
    values[ONSET : ONSET + 60] = np.resize([1.0, 0.0, 1.0, 0.0, 1.0], 60)


def every_third(served: FloatArray) -> FloatArray:
    """Of every three requests one fails."""
    return np.asarray(np.diff(np.cumsum(served) // 3, prepend=0.0))


def nothing(values: FloatArray) -> None:
    """A clean series."""


SEEN = Expected(6, 0.9)
INCIDENTS = (
    Incident("doubles for 30 min", times(2, 30), 30, Expected(6, 0.8)),
    Incident("doubles for 3 h", times(2, 180), 180, SEEN, phases=(0, 6, 12, 18)),
    Incident("triples for 1 h", times(3, 60), 60, SEEN),
    Incident(
        "doubles for ever, and again for 30 min on its third day",
        both(times(2, N_STEPS), times(2, 30, begin=SECOND_INCIDENT)),
        300,
        Expected(6, until_minutes=360),
    ),
    Incident("falls to zero", times(0, 60), 60, Expected(6)),
    Incident("vanishes", vanishes, 60, Expected(7)),
    Incident("counter freezes", times(0, 60), 60, Expected(8), counter=True),
    Incident("stands still", stuck(60), 60, Expected(8)),
    Incident("40 % down", times(0.6, 60), 60, Expected(10), phases=(0, 6, 12, 18)),
    Incident("40 % up", times(1.4, 60), 60, Expected(10), phases=(0, 6, 12, 18)),
    Incident("70 % down", times(0.3, 60), 60, Expected(6), phases=tuple(range(0, 24, 3))),
    *(
        Incident(
            f"triples {hours} h after a spike",
            both(times(50, 5, begin=-60 * hours), times(3, 60)),
            60,
            Expected(6),
            spike_hours=hours,
        )
        for hours in (2, 6, 12, 20)
    ),
    Incident("leaks 1 % an hour", leaks, 3 * DAY, Expected(100 * 60)),
    Incident("clean", nothing, 0, Expected(), phases=(0, 6)),
    Incident("the clock changes", clock_changes, 0, Expected()),
    Incident("a job once a day", has_a_daily_job, 0, Expected()),
    Incident("a deploy replaces the pod", nothing, 0, Expected(), counter=True, deploy="replaces"),
    Incident(
        "a new pod is three times as busy as the old one", times(3, 60), 60, Expected(6), deploy="joins"
    ),
    Incident(
        "maintenance: down to a tenth for 3 h",
        times(0.1, 180, begin=-180),
        0,
        Expected(),
        maintenance=Maintenance(-180, 0, learn=False),
    ),
    Incident(
        "maintenance, nothing learnt, and twice the load since",
        times(2, 240, begin=-180),
        60,
        SEEN,
        maintenance=Maintenance(-180, 0, learn=False),
    ),
    Incident(
        "maintenance, learnt, and twice the load since",
        times(2, N_STEPS, begin=-180),
        0,
        Expected(),
        maintenance=Maintenance(-180, 0, learn=True),
    ),
    Incident("one of 3 requests fails", hardly_used, 0, Expected(), failing=every_third),
    Incident("a third of 500 requests fails", nothing, 60, SEEN, failing=every_third),
)


def scenarios(*, all_phases: bool) -> Iterator[Scenario]:
    """Every incident on both kinds of series; at all its hours of the day, or at the first only."""
    seed = 0
    for incident in INCIDENTS:
        for kind in KINDS:
            phases = incident.phases if all_phases and kind == "daily" else incident.phases[:1]
            for phase in phases:
                seed += 1
                values = clean(kind, seed, phase)
                old = values.copy()
                if incident.failing is not None:
                    values = np.round(values)
                incident.change(values)
                pods = _pods(incident.deploy, old, values)
                yield Scenario(incident, kind, phase, pods, _errors(incident, values, seed))


def _pods(deploy: str, old: FloatArray, new: FloatArray) -> dict[str, FloatArray]:
    """The load by pod: one without a name, or an old one and a new one."""
    if not deploy:
        return {"": new}
    before = np.arange(N_STEPS) < ONSET
    return {
        "old": np.where(before, old, np.nan) if deploy == "replaces" else old,
        "new": np.where(before, np.nan, new),
    }


def _errors(incident: Incident, served: FloatArray, seed: int) -> FloatArray | None:
    """Errors a minute: by chance, and as the incident wants it while it lasts."""
    if incident.failing is None:
        return None
    rng = np.random.default_rng(seed)
    errors = rng.binomial(served.astype(np.int64), USUAL_ERRORS).astype(np.float64)
    during = slice(ONSET, ONSET + 60)
    errors[during] = incident.failing(served[during])
    return errors
