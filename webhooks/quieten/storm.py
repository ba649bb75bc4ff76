"""A storm: one incident of far more alerts than usual, known by its first movers, representatives and counts.

What it holds is bounded however long it lasts: of an alert beyond the first of its
rule only the counts remain, and the store has the rest.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from random import Random
from typing import Any

import msgspec

from sidecar.records import Episode, Incident
from webhooks.correlate.group import Group
from webhooks.correlate.sighting import Key
from webhooks.incident import describe
from webhooks.judge.analyst import Analyst

FIRST_MOVERS = 20
MAX_REPRESENTATIVES = 60
"""One alert of each rule, the first of it; a storm of more rules than that is told by its first ones."""

EXACT, SAMPLED = 2_000, 16
"""Beyond so many alerts, the labels of one in sixteen are counted, for sixteen: intake comes first."""

MAX_VALUES = 1000
"""Values counted for one label; beyond that, half of them, the rare ones, are forgotten."""

MAX_LABELS = 40
TOLD_VALUES = 5
MAX_FIRING = 200_000


@dataclass
class Storm:
    """One storm of one tenant."""

    group: Group
    began: float
    n_episodes: int = 0
    firing: set[Key] = field(default_factory=set)
    last_end_ns: int = 0
    first_movers: list[Episode] = field(default_factory=list)
    representatives: dict[str, Episode] = field(default_factory=dict)
    counts: dict[str, Counter[str]] = field(default_factory=dict)
    told_at: float = 0.0
    changed: bool = True
    _dice: Random = field(default_factory=lambda: Random(0))  # noqa: S311
    _sampled: int = 0
    """The number of the next alert whose labels are counted for others."""

    @property
    def incident_id(self) -> str:
        """The incident that it is."""
        return self.group.incident_id

    def see(self, episode: Episode, analyst: Analyst) -> None:
        """Take an alert of the storm, new or changed."""
        self.changed = True
        key = episode.key
        known = key in self.firing
        if episode.state == "resolved":
            # One that came and went within one commit is told of by its end alone.
            known = known or episode.deliveries > 1
            self.firing.discard(key)
            self.last_end_ns = max(self.last_end_ns, episode.ends_at_ns or episode.last_seen_ns)
        elif not known and len(self.firing) < MAX_FIRING:
            self.firing.add(key)
        member = self.group.members.get(key)
        if member is not None:
            member.episode = episode
            self.group.refresh(member)
        elif not known:
            self._count(episode, analyst)

    def _count(self, episode: Episode, analyst: Analyst) -> None:
        self.n_episodes = n = self.n_episodes + 1
        if n <= EXACT:
            self._count_labels(episode, 1)
        elif n == self._sampled:
            self._count_labels(episode, SAMPLED)
        if n >= EXACT and n % SAMPLED == 0:
            # One of the next sixteen, and never of the same place: groups of two or eight alerts come in
            # the same order each, and of some rules none would be counted.
            self._sampled = n + 1 + self._dice.randrange(SAMPLED)
        rule = episode.labels.get("alertname", "")
        stands_for = rule not in self.representatives and len(self.representatives) < MAX_REPRESENTATIVES
        if stands_for:
            self.representatives[rule] = episode
        if n <= FIRST_MOVERS:
            self.first_movers.append(episode)
        if stands_for or n <= FIRST_MOVERS:
            self.group.add(analyst.sight(episode))

    def _count_labels(self, episode: Episode, weight: int) -> None:
        for name, value in episode.labels.items():
            counter = self.counts.get(name)
            if counter is None:
                if len(self.counts) >= MAX_LABELS:
                    continue
                counter = self.counts[name] = Counter()
            counter[value] += weight
            if len(counter) > MAX_VALUES:
                self.counts[name] = Counter(dict(counter.most_common(MAX_VALUES // 2)))

    def summary(self) -> dict[str, Any]:
        """What the incident tells of it."""
        rules = self.counts.get("alertname", Counter())
        return {
            "first_movers": [{"labels": e.labels, "starts_at_ns": e.starts_at_ns} for e in self.first_movers],
            "representatives": [
                {"labels": e.labels, "n_alike": rules[rule]} for rule, e in self.representatives.items()
            ],
            "counts": {
                name: dict(counter.most_common(TOLD_VALUES)) for name, counter in sorted(self.counts.items())
            },
        }

    def incident(self, analyst: Analyst, *, now_ns: int) -> Incident:
        """The record of the storm as it stands, which is no news any more."""
        self.changed = False
        verdict = analyst.consider_anyhow(self.group, now=now_ns / 1e9, usual={})
        known = describe(self.group, verdict, now_ns=now_ns)
        rules = self.counts.get("alertname", Counter()).most_common(3)
        mostly = ", ".join(f"{name} ({100 * n // max(self.n_episodes, 1)} %)" for name, n in rules)
        over = not self.firing
        return msgspec.structs.replace(
            known,
            title=f"storm of {self.n_episodes} alerts: {mostly}",
            ended_at_ns=self.last_end_ns if over else None,
            state="resolved" if over else "open",
            n_episodes=self.n_episodes,
            n_firing=len(self.firing),
            storm=self.summary(),
        )
