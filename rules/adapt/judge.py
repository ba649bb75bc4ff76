"""What a candidate would have done on the past: false alarms, incidents caught, and how soon."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from rules.adapt.bounds import Bound, Family, families
from rules.backtest.firing import Firing
from rules.backtest.limit import limited_firings
from rules.incidents import KnownIncident, within
from rules.read import WrittenRule
from sidecar.promql.threshold import Comparison
from sidecar.series import BoolArray, FloatArray, LabelSet, TimeArray

LATE_MS = 10 * 60_000
"""A firing that begins so long after an incident's end still tells of it: windows are noted by people."""

DAY_SECONDS = 86_400

AGAIN_MS = 60 * 60_000
"""A false alarm that begins so soon after another is no second accident: one cause, seen twice."""

Troubled = tuple[tuple[tuple[int, int], ...], ...]
"""Windows (ms) by row."""

Counts = NDArray[np.int64]

HOLDS = {">": np.greater, ">=": np.greater_equal, "<": np.less, "<=": np.less_equal}
"""Whether values lie on the bad side of thresholds, by operator; what is absent (NaN) never does."""


@dataclass(frozen=True)
class Evidence:
    """The past of one rule: `values` (N, T) of what it measures, NaN where its conditions do not hold.

    `moving`: what the rule has in place of the comparison's number, where that is a table or a line.
    `last_bucket`: what no quantile of a histogram that it measures goes beyond.
    """

    rule: WrittenRule
    comparison: Comparison
    labels: tuple[LabelSet, ...]
    times: TimeArray
    values: FloatArray
    incidents: tuple[KnownIncident, ...] = ()
    moving: Bound | None = None
    last_bucket: float = math.inf

    def families(self) -> list[Family]:
        """The forms of a threshold that are worth trying."""
        return families(self.values, self.times, self.normal, self.comparison, last_bucket=self.last_bucket)

    @property
    def days(self) -> float:
        """Length in days."""
        return float(self.times[-1] - self.times[0]) / 86_400_000 if self.times.size else 0.0

    @cached_property
    def troubled(self) -> Troubled:
        """By row the windows (ms) in which an alert of it is no false alarm."""
        return troubled_by(self.labels, self.incidents)

    @cached_property
    def normal(self) -> BoolArray:
        """(T,) where no incident was, of whichever kind: what may be learned from."""
        return ~within(self.incidents, self.times)

    @property
    def step_seconds(self) -> float:
        """The interval of evaluation."""
        return float(self.times[1] - self.times[0]) / 1000 if self.times.size > 1 else 0.0

    def between(self, start_ms: int, end_ms: int) -> Evidence:
        """The part of it in [start, end)."""
        here = (self.times >= start_ms) & (self.times < end_ms)
        inside = tuple(i for i in self.incidents if i.start_ms < end_ms and i.end_ms > start_ms)
        return replace(self, times=self.times[here], values=self.values[:, here], incidents=inside)


@dataclass(frozen=True)
class Candidate:
    """A way to write the rule. `hysteresis`: the share of the way back to `rest` at which it ends."""

    bound: Bound
    for_seconds: float
    keep_firing_seconds: float = 0.0
    hysteresis: float | None = None
    rest: float = 0.0

    def low(self, times: TimeArray) -> FloatArray:
        """The threshold at which a firing alert ends, where there is hysteresis."""
        high = self.bound.at(times)
        return high if self.hysteresis is None else high + self.hysteresis * (self.rest - high)


@dataclass(frozen=True)
class Verdict:
    """How a candidate did. `delays`: seconds from an incident's start to its alert, by incident caught.

    `n_false`: what goes on for days outside of incidents counts once more for each, as people are told again.
    `suspected`: those of the incidents caught that nobody told of.
    """

    n_firings: int
    n_false: int
    firing_seconds: float
    delays: dict[str, float]
    days: float
    suspected: frozenset[str] = frozenset()

    @property
    def false_per_month(self) -> float:
        """False alarms in 30 days."""
        return self.n_false * 30 / self.days if self.days else 0.0


def judge(candidate: Candidate, evidence: Evidence) -> Verdict:
    """The candidate on the evidence, as Prometheus would have evaluated it."""
    return verdict(fired(candidate, evidence), evidence)


def fired(candidate: Candidate, evidence: Evidence) -> list[Firing]:
    """When the candidate would have fired."""
    holds = HOLDS[evidence.comparison.operator]
    active = holds(evidence.values, candidate.bound.at(evidence.times))  # False for NaN.
    stays = None
    if candidate.hysteresis is not None:
        stays = holds(evidence.values, candidate.low(evidence.times))
    return limited_firings(
        active,
        evidence.times,
        for_seconds=candidate.for_seconds,
        keep_firing_seconds=candidate.keep_firing_seconds,
        limit=evidence.rule.limit,
        stays=stays,
    )


def verdict(found: Sequence[Firing], evidence: Evidence) -> Verdict:
    """Firings held against the known incidents."""
    n_false = int(false_alarms(found, evidence).sum())
    delays = {}
    for incident in evidence.incidents:
        soonest = caught(found, evidence.labels, incident, evidence.rule.name)
        if soonest is not None:
            delays[incident.name] = soonest
    suspected = frozenset(one.name for one in evidence.incidents if one.suspected and one.name in delays)
    return Verdict(len(found), n_false, sum(f.seconds for f in found), delays, evidence.days, suspected)


def false_alarms(found: Sequence[Firing], evidence: Evidence) -> Counts:
    """(N,) how many false alarms the firings of each series are."""
    n_false = np.zeros(len(evidence.labels), dtype=np.int64)
    for firing in found:
        n_false[firing.row] += _false(firing, evidence.troubled[firing.row])
    return n_false


def bursts(found: Sequence[Firing], evidence: Evidence) -> list[int]:
    """How many false alarms came together, in each stretch of time that had any; in order."""
    sizes: list[int] = []
    until = -math.inf
    for firing in sorted(found, key=lambda one: one.start_ms):
        n_false = _false(firing, evidence.troubled[firing.row])
        if not n_false:
            continue
        if firing.start_ms > until:
            sizes.append(0)
        sizes[-1] += n_false
        until = max(until, firing.end_ms + AGAIN_MS)
    return sizes


def _false(firing: Firing, windows: Sequence[tuple[int, int]]) -> int:
    """How many false alarms it is: none in an incident, which explains no days of firing outside of it."""
    in_trouble = [
        min(end, firing.end_ms) - max(begin, firing.start_ms)
        for begin, end in windows
        if begin <= firing.end_ms and firing.start_ms <= end
    ]
    return (not in_trouble) + int(max(firing.seconds - sum(in_trouble) / 1000, 0.0) // DAY_SECONDS)


def troubled_by(labels: Sequence[LabelSet], incidents: Sequence[KnownIncident]) -> Troubled:
    """By row the windows (ms) of the incidents that its series was part of, and a while after each."""
    return tuple(
        tuple((i.start_ms, i.end_ms + LATE_MS) for i in incidents if i.matches(one)) for one in labels
    )


def noise(found: Sequence[Firing], troubled: Troubled) -> list[Firing]:
    """The firings that no incident explains: those that overlap none of their row's windows."""
    return [
        firing
        for firing in found
        if not any(begin <= firing.end_ms and firing.start_ms <= end for begin, end in troubled[firing.row])
    ]


def caught(
    found: Sequence[Firing], labels: Sequence[LabelSet], incident: KnownIncident, alert: str
) -> float | None:
    """Seconds from the incident's start to the first firing that begins in it; None where there is none.

    An alert that fired already when the incident began told nobody of it.
    """
    if not incident.concerns(alert):
        return None
    starts = [
        firing.start_ms
        for firing in found
        if incident.start_ms <= firing.start_ms <= incident.end_ms and incident.matches(labels[firing.row])
    ]
    return (min(starts) - incident.start_ms) / 1000 if starts else None
