"""How probably an alert is a false positive, with the reasons; learned from the stream itself.

An alert that comes alone and goes sooner than alerts of its kind do when others
come with them, again and again, is probably noise. Neither shortness nor
recurrence is enough by itself: where all alerts are short, or all recur, they
say nothing. Heartbeats and alerts of severity none are never of an incident.
"""

from __future__ import annotations

import math
from bisect import insort
from collections import defaultdict
from dataclasses import dataclass, field

from webhooks.correlator import Group
from webhooks.sighting import Sighting

SILENT_SEVERITIES = frozenset({"none", "ok", "debug", "test", "deadman", "heartbeat"})
MILD_SEVERITIES = frozenset({"info", "information", "informational", "notice", "low", "p4", "p5", "minor"})
GRAVE_SEVERITIES = frozenset(
    {"critical", "page", "emergency", "fatal", "disaster", "p0", "p1", "sev0", "sev1"}
)

CHRONIC_SECONDS = 12 * 3600.0
ENOUGH_DURATIONS = 6
REMEMBERED = 400


@dataclass(frozen=True, slots=True)
class NoiseWeights:
    """Log-odds of being noise."""

    base: float = -1.6
    alone: float = 1.3
    crowd: float = -2.5
    short: float = 1.1
    recurs: float = 0.6
    mild: float = 0.8
    grave: float = -0.7
    chronic: float = 3.0
    weak: float = 0.8
    blames: float = -1.5


@dataclass(frozen=True, slots=True)
class Doubt:
    """Probability that an alert is a false positive, and why."""

    probability: float
    reasons: tuple[str, ...]


@dataclass
class Durations:
    """How long episodes lasted, sorted; the oldest knowledge is thinned out."""

    values: list[float] = field(default_factory=list)

    def add(self, seconds: float) -> None:
        """Take one more."""
        insort(self.values, seconds)
        if len(self.values) > REMEMBERED:
            self.values = self.values[::2]

    def median(self) -> float:
        """The middle one; NaN of none."""
        return self.values[len(self.values) // 2] if self.values else math.nan


class NoiseModel:
    """What the stream has taught about how alerts behave in company and alone."""

    def __init__(self, weights: NoiseWeights | None = None) -> None:
        self._weights = weights or NoiseWeights()
        self._company: defaultdict[str, Durations] = defaultdict(Durations)
        self._company_all = Durations()
        self._alone: defaultdict[tuple[str, str], int] = defaultdict(int)
        self._together: defaultdict[tuple[str, str], int] = defaultdict(int)
        self._taught: set[tuple[str, str, int]] = set()

    def learn(self, seen: Sighting, group: Group, *, now: float) -> None:
        """Take what an episode that is over, or has fired for long, showed; each teaches once."""
        if seen.key in self._taught or seen.ended is None:
            return
        self._taught.add(seen.key)
        if len(self._taught) > 200_000:
            self._taught.clear()
        of = (seen.episode.tenant, seen.episode.fingerprint)
        if in_company(group):
            lasted = seen.lasted(now)
            self._company[seen.name].add(lasted)
            self._company_all.add(lasted)
            self._together[of] += 1
        else:
            self._alone[of] += 1

    def usual(self, name: str) -> float | None:
        """Seconds that alerts of this name last in company, leaning on all names while little is known."""
        own = self._company.get(name)
        n_own = len(own.values) if own else 0
        if n_own + len(self._company_all.values) < ENOUGH_DURATIONS:
            return None
        everyone = self._company_all.median()
        if not own or not n_own:
            return everyone
        share = n_own / (n_own + 4.0)
        return math.exp(share * math.log(max(own.median(), 1.0)) + (1 - share) * math.log(max(everyone, 1.0)))

    def judge(self, seen: Sighting, group: Group, *, now: float) -> Doubt:
        """How probably this episode is noise, as things stand."""
        weights = self._weights
        if seen.severity in SILENT_SEVERITIES:
            return Doubt(0.99, (f"its severity is {seen.severity}",))
        if seen.wording.heartbeat:
            return Doubt(0.98, ("it is a heartbeat of the alerting itself",))
        reasons: list[str] = []
        odds = weights.base
        lasted = seen.lasted(now)
        company = in_company(group)
        if not company:
            odds += weights.alone
            reasons.append("nothing else alerted with it")
        else:
            crowd = min(math.log2(max(len(group.parties), len(group.names) / 2.0, 1.0)), 3.0)
            odds += weights.crowd * min(crowd, 2.0) / 2.0
            if len(group.parties) > 1:
                reasons.append(f"{len(group.parties)} entities alert together")
            link = group.links.get(seen.key)
            alone_in_it = len(group.parties[seen.entity].sightings) == 1
            if link is not None and alone_in_it and link.strength < 0.5:
                odds += weights.weak
                reasons.append("it is bound to the others loosely")
        usual = self.usual(seen.name)
        if usual is not None and seen.ended is not None:
            shortness = math.log(max(usual, 1.0) / max(lasted, 1.0))
            odds += weights.short * max(min(shortness, 2.5), -2.0)
            if shortness > 0.7:
                reasons.append(f"it lasted {lasted:.0f} s, in company its kind lasts {usual:.0f} s")
        of = (seen.episode.tenant, seen.episode.fingerprint)
        lone = self._alone[of]
        if lone > 1:
            share = lone / (lone + self._together[of])
            odds += weights.recurs * share * math.log2(lone)
            reasons.append(f"it came {lone} times alone and {self._together[of]} times in company")
        if seen.severity in MILD_SEVERITIES:
            odds += weights.mild
        elif seen.severity in GRAVE_SEVERITIES:
            odds += weights.grave
        if lasted > CHRONIC_SECONDS and seen.severity not in GRAVE_SEVERITIES and len(group.parties) < 3:
            odds += weights.chronic
            reasons.append(f"it fires for {lasted / 3600:.0f} hours and nothing follows")
        if seen.subject.mentions and not seen.wording.resource:
            odds += weights.blames
        return Doubt(1.0 / (1.0 + math.exp(-odds)), tuple(reasons))


def in_company(group: Group) -> bool:
    """Whether an incident has more than one alert to it: other entities, or another rule on the same one."""
    return len(group.parties) > 1 or len(group.names) > 1
