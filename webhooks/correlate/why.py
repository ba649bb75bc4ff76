"""Why an alert is in its incident, and what would have kept it out: from the bonds stored with it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

from sidecar.records import Episode, Incident
from webhooks.correlate.weights import Weights

MEANING = {
    "same": "its entity was in the incident already",
    "edge": "it and an entity of the incident call one another",
    "hosted": "one runs on the other",
    "mention": "one's text names the other",
    "companion": "the two have begun together before",
    "lag": "it began as long after another of the incident, or before it, as it always does",
    "namespace": "they share a namespace",
    "name": "the same rule fired on another entity just before or after",
    "density": "several entities began within a minute or so",
    "words": "the names and texts of their rules speak of the same",
    "anomaly": "pronoia saw the metrics of both go wrong together",
    "change": "both follow the same change",
    "said": "people called an incident of the one a duplicate of one of the other",
    "storm": "far more alerts came than usual, and all that was new went into one incident",
}
REMEDY = {
    "same": "name the entities apart: webhook.identity_labels",
    "edge": "take the edge out of the topology",
    "hosted": "take runs_on out of the topology",
    "mention": "leave the other's name out of the annotations",
    "companion": "nothing at once: it is learned, and fades as they begin apart",
    "lag": "nothing at once: it is learned, and ends when the two begin at other distances",
    "namespace": "give a topology, then namespaces count no more",
    "name": "nothing by configuration; a later start would",
    "words": "say in the annotations how the two rules differ",
    "density": "nothing by configuration; a start more than a minute apart would",
    "anomaly": "watch the two by queries of different labels",
    "change": "tell changes with the services they concern",
    "said": "say wrong merge, or split them; that counts against it",
    "storm": "raise webhook.storm.alerts_per_minute",
}


@dataclass(frozen=True, slots=True)
class Why:
    """The answer, strongest reason first; strengths 0..1."""

    first: bool
    strength: float
    enough: float
    reasons: tuple[tuple[str, float, str], ...]
    keeps_out: tuple[tuple[tuple[str, ...], float], ...]
    """Smallest sets of dimensions without which it would have stayed out, and the strength then."""


def why(episode: Episode, weights: Weights | None = None) -> Why:
    """Why an episode is in its incident.

    >>> one = Episode("t", "f", 0, None, {}, {}, "", 0, 0, bonds={"all": 0.51, "edge": 0.3, "density": 0.3})
    >>> why(one).keeps_out
    ((('edge', 'density'), 0.0),)
    """
    bonds = {name: value for name, value in episode.bonds.items() if name != "all"}
    enough = (weights or Weights()).enough
    strength = episode.bonds.get("all", 0.0)
    ordered = sorted(bonds.items(), key=lambda item: -item[1])
    reasons = tuple((name, value, MEANING.get(name, name)) for name, value in ordered)
    # What weakens all bonds alike, such as an incident that was over, stays as it was.
    whole = _together(bonds.values())
    damping = strength / whole if whole else 0.0
    return Why(not bonds, strength, enough, reasons, _cuts(ordered, damping, enough))


def _cuts(
    ordered: Sequence[tuple[str, float]], damping: float, enough: float
) -> tuple[tuple[tuple[str, ...], float], ...]:
    for size in range(1, len(ordered) + 1):
        found = []
        for cut in combinations(ordered, size):
            left = damping * _together(value for name, value in ordered if (name, value) not in cut)
            if left < enough:
                found.append((tuple(name for name, _ in cut), round(left, 3)))
        if found:
            return tuple(found)
    return ()


def _together(values: Iterable[float]) -> float:
    against = 1.0
    for value in values:
        against *= 1.0 - value
    return 1.0 - against


def answers(
    incident: Incident, episodes: Iterable[Episode], alert: str | None = None
) -> Iterator[dict[str, Any]]:
    """Why each alert of an incident is in it, in data and in `words`, line by line.

    One after another, as they are asked for: a storm has a hundred thousand.
    `alert`: a fingerprint or a name; None asks of all.
    """
    for episode in episodes:
        name = episode.labels.get("alertname", "")
        if alert in (None, episode.fingerprint, name):
            found = why(episode)
            words = sentences(episode, incident, found)
            yield {"fingerprint": episode.fingerprint, "alertname": name, "words": words, **asdict(found)}


def sentences(episode: Episode, incident: Incident, found: Why) -> list[str]:
    """The answer for people."""
    name = episode.labels.get("alertname", episode.fingerprint)
    if found.first and incident.split_from:
        return [
            f"{name} came with {incident.incident_id} out of {incident.split_from}: {incident.split_reason}."
        ]
    if found.first:
        return [
            f"{name} was drawn by nothing: {incident.incident_id} began as this one, and others came to it."
        ]
    lines = [
        f"{name} is in {incident.incident_id}, bond {found.strength:.2f} ({found.enough:.2f} is enough):"
    ]
    lines += [f"  {value:.2f}  {dimension}: {words}" for dimension, value, words in found.reasons]
    if not found.keeps_out:
        return lines
    lines.append("It would have stayed out")
    for cut, left in found.keeps_out:
        lines.append(f"  without {' and '.join(cut)} (then {left:.2f})")
        lines += [f"    {dimension}: {REMEDY[dimension]}" for dimension in cut if dimension in REMEDY]
    return lines
