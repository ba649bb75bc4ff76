"""Everything that is said of an incident: causes, priority, category, noise; the same live and offline."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Set
from itertools import islice

import msgspec

from sidecar.records import Cause, Episode
from webhooks.correlate.entity import EntityReader
from webhooks.correlate.group import Group
from webhooks.correlate.meaning import Encode
from webhooks.correlate.online import Correlator
from webhooks.correlate.sighting import Key, Sighting, sight
from webhooks.correlate.topology import Topology
from webhooks.correlate.weights import Weights
from webhooks.judge.cause import CauseWeights, rank, shares
from webhooks.judge.impact import Impact
from webhooks.judge.noise import Doubt, NoiseModel, NoiseWeights
from webhooks.judge.priority import Standing, Urgency, judge

NOISE_AT = 0.5
DOUBTFUL_AT = 0.4
"""Of alerts told .4 to .5 three in four are noise: nobody is called for such a one that is over."""

MAX_JUDGED = 200
"""Alerts of one incident that are judged each; of a storm the first movers and the newest."""

GRAIN_SECONDS = 15.0
"""Onsets closer than this are simultaneous: scrape and evaluation intervals hide their order."""


class Verdict(msgspec.Struct, frozen=True):
    """What is thought of an incident as things stand."""

    causes: list[Cause]
    urgency: Urgency
    doubts: dict[Key, Doubt] = {}
    if_real: Urgency | None = None
    """Where all alerts are probably noise: what the incident would be if they were not."""

    def is_noise(self, key: Key) -> bool:
        """Whether an episode is probably a false positive."""
        doubt = self.doubts.get(key)
        return doubt is not None and doubt.probability >= NOISE_AT

    @property
    def noise(self) -> float:
        """Probability that the whole incident is a false positive: that of its least doubtful alert."""
        return min((doubt.probability for doubt in self.doubts.values()), default=0.0)


UNJUDGED = Verdict([], Urgency("P2", "availability", ("it could not be judged; see pronoia's log",)))


class Analyst:
    """Groups episodes and says what it thinks of each group."""

    def __init__(
        self,
        topology: Topology | None = None,
        *,
        identity: Iterable[str] = (),
        folds: Iterable[tuple[str, str]] = (),
        correlator: Correlator | None = None,
        weights: Weights | None = None,
        encode: Encode | None = None,
        noise: NoiseWeights | None = None,
        causes: CauseWeights | None = None,
        impact: Impact | None = None,
    ) -> None:
        self.reader = EntityReader(topology, labels=identity, folds=folds)
        self.correlator = correlator or Correlator(self.reader.topology, weights=weights, encode=encode)
        self.evidence = self.correlator.bonds.evidence
        self.model = NoiseModel(self.correlator.bonds, noise)
        self.impact = impact or Impact()
        self._standing = Standing(self.reader, self.impact.criticality)
        self._causes = causes

    def sight(self, episode: Episode) -> Sighting:
        """What correlation reads of an episode."""
        return sight(episode, self.reader)

    def usual(self) -> dict[str, float]:
        """How usual each entity is in the incidents that are remembered."""
        return shares(group.parties.keys() for group in self.correlator.groups.values())

    def learn(self, group: Group, keys: Iterable[Key] | None = None) -> None:
        """Let the noise model see how an incident's alerts ended: these, or all."""
        for key in group.members if keys is None else keys:
            self.model.learn(group.members[key], group)

    def consider(self, group: Group, *, now: float, usual: dict[str, float]) -> Verdict:
        """What is thought of an incident now."""
        n_first = MAX_JUDGED * 3 // 4
        members = list(islice(group.members.values(), MAX_JUDGED))
        if len(group.members) > MAX_JUDGED:
            newest = islice(reversed(group.members.values()), MAX_JUDGED - n_first)
            members = [*members[:n_first], *newest]
        doubts = {seen.key: self.model.judge(seen, group, now=now) for seen in members}
        real = [seen for seen in members if doubts[seen.key].probability < NOISE_AT]
        causes = rank(
            real or members,
            self.reader.topology,
            grain_seconds=GRAIN_SECONDS + self.correlator.bonds.grid.step_seconds,
            usual=usual,
            weights=self._causes,
            evidence=self.evidence,
        )
        passed = {
            seen.key
            for seen in real
            if seen.ended is not None and doubts[seen.key].probability >= DOUBTFUL_AT
        }
        urgency = judge(real, self._standing, cause=causes[0].service if causes else "", passed=passed)
        urgency = self.impact.weigh(urgency, real, now=now, passed=passed)
        if_real = None if real else judge(members, self._standing)
        named = [
            Cause(cause.fingerprint, self.reader.written(cause.service), cause.score, cause.reasons)
            for cause in causes
        ]
        return Verdict(named, urgency, doubts, if_real)

    def consider_anyhow(self, group: Group, *, now: float, usual: dict[str, float]) -> Verdict:
        """As `consider`; where one odd alert breaks that off, that it does, so that people hear of it."""
        try:
            return self.consider(group, now=now, usual=usual)
        except Exception:
            # The loop's edge: it must hold up neither the others' incidents nor its own.
            # Imported late: commands have no use for logs, and pay for what they import.
            from sidecar.telemetry import get_logger

            get_logger("analyst").exception("an incident could not be judged", incident=group.incident_id)
            return UNJUDGED


class UsualSoFar:
    """How usual each entity is in the incidents that began before: of records, nothing later counts."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._n = 0

    def add(self, entities: Set[str]) -> None:
        """Take the next incident, in the order of their beginning."""
        if len(entities) > 1:
            self._n += 1
            self._counts.update(entities)

    def shares(self, entities: Iterable[str]) -> dict[str, float]:
        """Shares of these entities; see `webhooks.judge.cause.shares`."""
        return {name: max(self._counts[name] - 1, 0) / (self._n + 1) for name in entities}
