"""Incidents of the past that rules are measured by: when they were, and which alerts belong to them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from sidecar import plain_yaml
from sidecar.errors import RuleError, RuleReason
from sidecar.ports import AlertStore
from sidecar.records import Episode, Incident
from sidecar.series import BoolArray, LabelSet, TimeArray

BEFORE_MS = 5 * 60_000
AFTER_MS = 30 * 60_000
"""What a window of an incident is widened by where normal life is learned: its run-up and its aftermath."""


@dataclass(frozen=True, slots=True)
class KnownIncident:
    """A window of trouble; int64 ms.

    `alerts`: names of the alerts that tell of it (empty: any whose labels match).
    `match`: labels that an alert of it has, each a regular expression for the whole value.
    `suspected`: nobody told of it; it stands out of what a rule measures.
    """

    name: str
    start_ms: int
    end_ms: int
    alerts: frozenset[str] = frozenset()
    match: Mapping[str, str] = field(default_factory=dict)
    suspected: bool = False

    def concerns(self, alert: str) -> bool:
        """Whether an alert of that name may tell of it."""
        return not self.alerts or alert in self.alerts

    def matches(self, labels: LabelSet) -> bool:
        """Whether a series is one of those in trouble; labels that it has not do not speak against it."""
        return all(
            name not in labels or re.fullmatch(pattern, labels[name]) for name, pattern in self.match.items()
        )


def read_incidents(path: Path) -> list[KnownIncident]:
    """Incidents of a YAML or JSON file: a list of `name`, `start`, `end`, and perhaps `alerts` and `match`.

    Raises: RuleError naming the entry at fault.
    """
    try:
        entries = plain_yaml.load(path.read_text(encoding="utf-8")) or []
    except (OSError, UnicodeDecodeError) as error:
        raise RuleError(RuleReason.CHECK_FAILED, f"{path}: {error}") from error
    except yaml.YAMLError as error:
        words = f"{path}: {plain_yaml.place_of(error)} {plain_yaml.words_of(error)}"
        raise RuleError(RuleReason.CHECK_FAILED, words) from error
    if not isinstance(entries, list):
        raise RuleError(
            RuleReason.CHECK_FAILED, f"{path}: write a list: name, start and end of each incident"
        )
    found: list[KnownIncident] = []
    seen: Counter[str] = Counter()
    for n, entry in enumerate(entries):
        try:
            one = _incident(entry, f"incident {n + 1}")
        except KeyError as error:
            words = f"{path}: entry {n + 1} has no {error}; write name, start and end"
            raise RuleError(RuleReason.CHECK_FAILED, words) from error
        except (AttributeError, TypeError) as error:
            words = f"{path}: entry {n + 1} is none: write name, start and end, and perhaps alerts and match"
            raise RuleError(RuleReason.CHECK_FAILED, words) from error
        except (ValueError, OverflowError, re.error) as error:
            raise RuleError(RuleReason.CHECK_FAILED, f"{path}: entry {n + 1}: {error}") from error
        # What was caught is told by name, so that one of two namesakes would stand for both.
        seen[one.name] += 1
        found.append(one if seen[one.name] == 1 else replace(one, name=f"{one.name} ({seen[one.name]})"))
    return found


def _incident(entry: Mapping[str, Any], usual_name: str) -> KnownIncident:
    start, end = _moment_ms(entry["start"]), _moment_ms(entry["end"])
    if start >= end:
        raise ValueError("start lies after end, or at it")
    match = {str(name): str(pattern) for name, pattern in (entry.get("match") or {}).items()}
    for pattern in match.values():
        re.compile(pattern)
    return KnownIncident(
        str(entry.get("name", usual_name)),
        start,
        end,
        frozenset(_names(entry.get("alerts"))),
        match,
    )


def _names(value: object) -> list[str]:
    """A list, or what somebody wrote in place of a list of one."""
    return [str(name) for name in value] if isinstance(value, list) else [str(value)] if value else []


def _moment_ms(value: object) -> int:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return round(value * 1000)
    moment = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    return round((moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment).timestamp() * 1000)


def stored_incidents(
    incidents: Iterable[tuple[Incident, Sequence[Episode]]], now_seconds: float
) -> list[KnownIncident]:
    """Confirmed incidents of pronoia's own memory: those with more than noise in them.

    One that is still open lasts until now, so that nothing of it is taken for normal life.
    """
    now_ms = round(now_seconds * 1000)
    return [
        KnownIncident(
            incident.incident_id,
            incident.started_at_ns // 1_000_000,
            now_ms if incident.ended_at_ns is None else incident.ended_at_ns // 1_000_000,
            frozenset(episode.labels.get("alertname", "") for episode in members),
        )
        for incident, members in incidents
        if _confirmed(incident)
    ]


async def remembered_incidents(store: AlertStore, now_seconds: float) -> list[KnownIncident]:
    """The confirmed incidents that the store has. Raises: StoreError."""
    # Members are read one by one, so only of those that count.
    real = [one for one in await store.incidents(limit=10_000) if _confirmed(one)]
    found = [await store.incident(one.incident_id) for one in real]
    return stored_incidents([one for one in found if one is not None], now_seconds)


def _confirmed(incident: Incident) -> bool:
    return incident.noise < 0.5 and incident.state in ("open", "resolved")


def within(incidents: Iterable[KnownIncident], times: TimeArray) -> BoolArray:
    """(T,) where a time lies in an incident, its run-up or its aftermath: what normal life is not."""
    inside: BoolArray = times != times
    for incident in incidents:
        inside |= (times >= incident.start_ms - BEFORE_MS) & (times <= incident.end_ms + AFTER_MS)
    return inside
