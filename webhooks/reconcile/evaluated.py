"""What Prometheus' own series of its alerts say against what we believe. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from sidecar.records import AlertEvent, Episode
from sidecar.series import LabelSet
from webhooks.own import is_own
from webhooks.reconcile.differences import SETTLED_NS


@dataclass(frozen=True, slots=True)
class Fires:
    """One firing alert: since when its condition holds, and its newest sample, in nanoseconds."""

    since_ns: int
    sampled_ns: int


@dataclass(frozen=True)
class Evaluated:
    """Prometheus' alerts at one moment, under the labels that its series have.

    `external`: labels that Prometheus adds to what it sends to Alertmanager.
    """

    firing: Mapping[LabelSet, Fires] = field(default_factory=dict)
    pending: Collection[LabelSet] = frozenset()
    external: Mapping[str, str] = field(default_factory=dict)

    def series_of(self, labels: Mapping[str, str]) -> LabelSet | None:
        """The labels of a delivered alert's series; None for an alert of another Prometheus."""
        if any(labels.get(name, value) != value for name, value in self.external.items()):
            return None
        return LabelSet({name: value for name, value in labels.items() if name not in self.external})


@dataclass
class Verdict:
    """What of our beliefs the series confirm, contradict, or do not bear out any more."""

    still_firing: set[str] = field(default_factory=set)
    """Fingerprints of alerts that fire, whoever says otherwise."""
    settled: list[AlertEvent] = field(default_factory=list)
    refused: list[AlertEvent] = field(default_factory=list)
    """Alerts that were said to have ended, and fired on."""
    gone: dict[LabelSet, Episode] = field(default_factory=dict)
    """Alerts that we believe to fire and that have no series now, which alone is no proof."""


def judge(evaluated: Evaluated, known: Iterable[Episode], *, now_ns: int) -> Verdict:
    """Hold the newest episode of each alert against the series."""
    verdict = Verdict()
    names = {labels.get("alertname") for labels in evaluated.firing}
    for episode in known:
        over = episode.state == "resolved"
        if is_own(episode.labels) or (over and episode.labels.get("alertname") not in names):
            continue
        series = evaluated.series_of(episode.labels)
        if series is None:
            continue
        fires = evaluated.firing.get(series)
        if over:
            if fires is not None and _fired_on(fires, episode.ends_at_ns or episode.last_seen_ns):
                verdict.still_firing.add(episode.fingerprint)
                verdict.refused.append(firing_again(episode))
        elif fires is not None:
            verdict.still_firing.add(episode.fingerprint)
            if episode.state == "unknown":
                verdict.settled.append(firing_again(episode))
        elif series not in evaluated.pending and now_ns - episode.last_seen_ns >= SETTLED_NS:
            verdict.gone[series] = episode
    return verdict


def _fired_on(fires: Fires, ended_ns: int) -> bool:
    """Whether an alert fired without a break beyond the end that it is said to have had.

    A condition that holds only since then is another episode, of which Alertmanager will tell.
    """
    return fires.since_ns < ended_ns and fires.sampled_ns > ended_ns + SETTLED_NS


def firing_again(episode: Episode) -> AlertEvent:
    """The event that says that an episode goes on."""
    return AlertEvent(
        fingerprint=episode.fingerprint,
        firing=True,
        labels=episode.labels,
        annotations=episode.annotations,
        starts_at_ns=episode.starts_at_ns,
        ends_at_ns=None,
        generator_url=episode.generator_url,
    )
