"""Stored episodes into incidents once more, under any configuration, and how two such runs differ."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from sidecar.config.webhook import WebhookConfig
from sidecar.records import Episode
from webhooks.correlate import meaning
from webhooks.correlate.group import Group
from webhooks.correlate.meaning import Encode
from webhooks.correlate.quality import is_coincident
from webhooks.correlate.sighting import Key
from webhooks.correlate.topology import Topology, load_or_none
from webhooks.correlate.weights import Weights
from webhooks.judge.analyst import Analyst
from webhooks.offline import iso
from webhooks.own import is_own


@dataclass(frozen=True, slots=True)
class Run:
    """What a configuration makes of the history."""

    incident_of: Mapping[Key, str]
    names: Mapping[str, str]
    """What each incident began with, for people."""
    n_coincident: int

    @property
    def n_incidents(self) -> int:
        """How many incidents there are."""
        return len(set(self.incident_of.values()))

    @property
    def alerts_per_incident(self) -> float:
        """Compression: episodes for each incident."""
        return len(self.incident_of) / self.n_incidents if self.incident_of else 0.0

    @property
    def coincident_ratio(self) -> float:
        """Share of episodes that time and place alone bind, 0..1."""
        return self.n_coincident / len(self.incident_of) if self.incident_of else 0.0


@dataclass(frozen=True, slots=True)
class Change:
    """Incidents of one run that are one, or several, in the other; by episodes."""

    one: str
    others: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """The second run against the first."""

    merges: tuple[Change, ...]
    splits: tuple[Change, ...]
    purity: float
    """Share of episodes whose incident holds mostly what was together before: 1 is no mixing."""
    completeness: float
    """Share of episodes that stay with most of what was together before: 1 is no splitting."""


def replay(episodes: Iterable[Episode], **ways: Any) -> Run:
    """Incidents of stored episodes under a configuration: `ways` as of `regroup`."""
    correlator = regroup(episodes, **ways).correlator
    links = [link for group in correlator.groups.values() for link in group.links.values()]
    names = {one.incident_id: _name(one) for one in correlator.groups.values()}
    return Run(dict(correlator.home), names, sum(is_coincident(link) for link in links))


def ways_of(config: WebhookConfig) -> dict[str, Any]:
    """What of a configuration decides about incidents, as arguments of `regroup`."""
    return {
        "topology": load_or_none(config.topology_file),
        "identity": config.identity_labels,
        "folds": config.fold_pairs,
        "encode": meaning.load_or_none(config.embeddings),
        "weights": Weights(hold_seconds=config.incident_hold, reach_seconds=config.incident_gap),
    }


def regroup(
    episodes: Iterable[Episode],
    *,
    topology: Topology | None = None,
    identity: Iterable[str] = (),
    folds: Iterable[tuple[str, str]] = (),
    weights: Weights | None = None,
    encode: Encode | None = None,
) -> Analyst:
    """An analyst who heard of each episode when it was first heard of, and of its end when it ended."""
    analyst = Analyst(topology, identity=identity, folds=folds, weights=weights, encode=encode)
    correlator = analyst.correlator
    events: list[tuple[int, int, Episode, Episode]] = []
    for episode in episodes:
        if is_own(episode.labels):
            continue
        begun = msgspec.structs.replace(episode, state="firing", ends_at_ns=None, bonds={})
        events.append((episode.first_seen_ns, 0, begun, episode))
        if episode.state == "resolved":
            heard_ns = max(episode.ends_at_ns or 0, episode.first_seen_ns)
            events.append((heard_ns, 1, begun, episode))
    for at_ns, end, begun, stored in sorted(events, key=lambda e: (e[0], e[1], e[2].starts_at_ns)):
        correlator.advance(at_ns / 1e9)
        if end:
            begun.state, begun.ends_at_ns = stored.state, stored.ends_at_ns
            correlator.refresh(begun)
        else:
            correlator.add(analyst.sight(begun), now=at_ns / 1e9)
    if events:
        # As long as what is young may still merge; what fires then is not said to fire for ever.
        now = max(at_ns for at_ns, *_ in events) / 1e9
        correlator.advance(now + correlator.weights.settling_seconds)
    return analyst


def compare(before: Run, after: Run) -> Comparison:
    """What the second run merges and splits, and what that costs."""
    together = Counter((before.incident_of[key], after.incident_of[key]) for key in before.incident_of)
    of_old: defaultdict[str, Counter[str]] = defaultdict(Counter)
    of_new: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for (old, new), n in together.items():
        of_old[old][new] += n
        of_new[new][old] += n
    n_all = max(together.total(), 1)
    return Comparison(
        merges=_several(of_new, after.names, before.names),
        splits=_several(of_old, before.names, after.names),
        purity=sum(max(olds.values()) for olds in of_new.values()) / n_all,
        completeness=sum(max(news.values()) for news in of_old.values()) / n_all,
    )


def _name(group: Group) -> str:
    first = min(group.members.values(), key=lambda seen: seen.onset)
    return f"{first.name} on {first.subject.written}, {iso(first.episode.starts_at_ns)}"


def _several(
    found: Mapping[str, Counter[str]], names: Mapping[str, str], part_names: Mapping[str, str]
) -> tuple[Change, ...]:
    several = [
        Change(names[one], tuple((part_names[part], n) for part, n in parts.most_common()))
        for one, parts in found.items()
        if len(parts) > 1
    ]
    return tuple(sorted(several, key=lambda change: -sum(n for _, n in change.others)))
