"""How probably an alert is a false positive, with the reasons; learned from the stream itself.

An alert that comes alone and goes sooner than alerts of its kind do in company,
again and again, is probably noise. Neither shortness nor recurrence is enough by
itself: where all alerts are short, or recur together, they say nothing.
Heartbeats and alerts of severity none are never of an incident.
"""

from __future__ import annotations

import math
from array import array
from bisect import insort
from collections import defaultdict

import msgspec

from webhooks.correlate.bonds import Bonds
from webhooks.correlate.group import Group
from webhooks.correlate.habits import ALONE_BELOW
from webhooks.correlate.sighting import Sighting
from webhooks.own import is_own

SILENT_SEVERITIES = frozenset({"none", "ok", "debug", "test", "deadman", "heartbeat"})
MILD_SEVERITIES = frozenset({"info", "information", "informational", "notice", "low", "p4", "p5", "minor"})
GRAVE_SEVERITIES = frozenset(
    {"critical", "page", "emergency", "fatal", "disaster", "p0", "p1", "sev0", "sev1"}
)

CHRONIC_SECONDS = 12 * 3600.0
ENOUGH_DURATIONS = 6
ENOUGH_COMPANY = 1.5
LEAN = 4.0
MIN_SPREAD = 0.7
MAX_RATIO = 3.0
REMEMBERED = 400
MAX_NAMES = 5_000


class NoiseWeights(msgspec.Struct, frozen=True):
    """Log-odds of being noise."""

    base: float = -1.1
    alone: float = 0.5
    crowd: float = -1.2
    short: float = 0.8
    habit: float = 0.3
    mild: float = 1.2
    grave: float = -0.3
    chronic: float = 4.0
    blames: float = -1.5


class Doubt(msgspec.Struct, frozen=True):
    """Probability that an alert is a false positive, and why."""

    probability: float
    reasons: tuple[str, ...]


class Durations(msgspec.Struct):
    """How long episodes lasted, as sorted logarithms; the oldest knowledge is thinned out."""

    values: array[float] = msgspec.field(default_factory=lambda: array("d"))

    def add(self, seconds: float) -> None:
        """Take one more."""
        insort(self.values, math.log(max(seconds, 1.0)))
        if len(self.values) > REMEMBERED:
            self.values = self.values[::2]

    def middle(self) -> float:
        """The median; of none, NaN."""
        return self.values[len(self.values) // 2] if self.values else math.nan

    def spread(self) -> float:
        """Half the range of the middle two thirds: a standard deviation that outliers do not move."""
        n = len(self.values)
        return (self.values[min(n * 5 // 6, n - 1)] - self.values[n // 6]) / 2.0 if n else math.nan


class Kinds:
    """Durations by rule name, leaning on those of all names while little is known of one."""

    def __init__(self) -> None:
        self._by_name: defaultdict[str, Durations] = defaultdict(Durations)
        self.all = Durations()

    def add(self, name: str, seconds: float) -> None:
        """Take one more episode."""
        self._by_name[name].add(seconds)
        if len(self._by_name) > MAX_NAMES:
            del self._by_name[next(iter(self._by_name))]
        self.all.add(seconds)

    def middle(self, name: str) -> float:
        """Median of the logarithms for a name."""
        own = self._by_name.get(name)
        if own is None:
            return self.all.middle()
        share = len(own.values) / (len(own.values) + LEAN)
        return share * own.middle() + (1.0 - share) * self.all.middle()


class NoiseModel:
    """What the stream has taught about how long alerts last, in company and alone."""

    def __init__(self, bonds: Bonds, weights: NoiseWeights | None = None) -> None:
        self._bonds = bonds
        self._weights = weights or NoiseWeights()
        self._company = Kinds()
        self._alone = Kinds()

    def learn(self, seen: Sighting, group: Group) -> None:
        """Take what an episode that is over has shown; each teaches once."""
        ended = seen.ended
        if ended is None or seen.has_taught:
            return
        seen.has_taught = True
        lasted = seen.lasted(ended)
        company = self._bonds.company(seen, group)
        if company >= ENOUGH_COMPANY:
            self._company.add(seen.name, lasted)
        elif company < ALONE_BELOW and lasted < CHRONIC_SECONDS:
            self._alone.add(seen.name, lasted)

    def shortness(self, name: str, lasted: float) -> float:
        """Log-likelihood ratio of a duration: above 0 it is like those of lone alerts, below like company's.

        Where the two do not differ it is about 0, and so it is while little is known.
        """
        company, alone = self._company, self._alone
        if min(len(company.all.values), len(alone.all.values)) < ENOUGH_DURATIONS:
            return 0.0
        ours, theirs = alone.middle(name), company.middle(name)
        if ours >= theirs:
            return 0.0
        spread = max(company.all.spread(), alone.all.spread(), MIN_SPREAD)
        ratio = (math.log(max(lasted, 1.0)) - (ours + theirs) / 2.0) * (ours - theirs) / spread**2
        return max(min(ratio, MAX_RATIO), -MAX_RATIO)

    def judge(self, seen: Sighting, group: Group, *, now: float) -> Doubt:
        """How probably this episode is noise, as things stand."""
        weights = self._weights
        if is_own(seen.episode.labels):
            return Doubt(0.0, ("raised by pronoia itself",))
        if seen.severity in SILENT_SEVERITIES:
            return Doubt(0.99, (f"its severity is {seen.severity}",))
        if seen.wording.heartbeat:
            return Doubt(0.98, ("it is a heartbeat of the alerting itself",))
        reasons: list[str] = []
        odds = weights.base
        lasted = seen.lasted(now)
        habits = self._bonds.habits
        habit = habits.habit(seen)
        n_came, n_alone = habits.count(seen)
        # What comes of habit would have been there anyway; its company says the less.
        company = self._bonds.company(seen, group) * (1.0 - habit)
        if company < ALONE_BELOW:
            odds += weights.alone
            reasons.append("nothing that matters alerted with it")
        else:
            n_entities = len(group.parties)
            alone = "other alerts began when it did"
            reasons.append(f"{n_entities} entities alert together" if n_entities > 1 else alone)
        odds += weights.crowd * min(math.log2(1.0 + company), 2.5)
        if seen.ended is not None:
            shortness = self.shortness(seen.name, lasted)
            odds += weights.short * shortness
            if shortness > 0.5:
                reasons.append(
                    f"it lasted {lasted:.0f} s, as lone alerts do here and those in company do not"
                )
        if n_alone > 1:
            odds += weights.habit * habit * math.log2(n_alone)
            reasons.append(f"it came {n_came} times, {n_alone} of them alone")
        if seen.severity in MILD_SEVERITIES:
            odds += weights.mild
        elif seen.severity in GRAVE_SEVERITIES:
            odds += weights.grave
        # As long as we watched: an old start alone may be an outage that we hear of late.
        watched = (now if seen.ended is None else seen.ended) - seen.heard
        if watched > CHRONIC_SECONDS and seen.severity not in GRAVE_SEVERITIES and company < 2.0:
            odds += weights.chronic
            reasons.append(f"it fires for {watched / 3600:.0f} hours and little follows")
        if seen.subject.mentions:
            odds += weights.blames
        verdicts = self._bonds.verdicts
        odds += verdicts.odds(seen.episode.tenant, seen.name)
        said = verdicts.words(seen.episode.tenant, seen.name)
        return Doubt(1.0 / (1.0 + math.exp(-odds)), (*reasons, said) if said else tuple(reasons))
