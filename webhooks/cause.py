"""The probable root cause of an incident: services ranked, each with its reasons in words.

Pure. What counts: who began first, whom the others' texts blame, whether the
alert's words are of a cause (down, failing, saturated) or of a symptom (slow,
errors from elsewhere), and who has the larger share of the alerts.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence

from sidecar.records import Cause, Episode
from webhooks.correlate import mentioned, onset
from webhooks.identity import service_of

_CAUSE = re.compile(
    r"down|fail|crash|oom|unreachable|saturat|exhaust|full|not ?ready|lost|expired|disk|deadlock|partition",
    re.IGNORECASE,
)
_SYMPTOM = re.compile(
    r"latenc|slow|timeout|upstream|downstream|buffer|burn|budget|degrad|5xx from|error rate|backlog|queue",
    re.IGNORECASE,
)
FIRST, BLAMED, WORDS, SHARE = 1.0, 1.5, 0.7, 0.3
GRAIN_SECONDS = 15.0
"""Onsets closer than this are simultaneous: scrape and evaluation intervals hide their order."""


def rank(episodes: Sequence[Episode]) -> list[Cause]:
    """Services of the incident, the most probable cause first; empty for no episodes."""
    by_service: dict[str, list[Episode]] = defaultdict(list)
    for episode in episodes:
        by_service[service_of(episode.labels)].append(episode)
    if not by_service:
        return []
    first_ns = min(onset(episode) for episode in episodes)
    last_ns = max(onset(episode) for episode in episodes)
    span = max((last_ns - first_ns) / 1e9, GRAIN_SECONDS)
    causes = [
        _judge(service, members, by_service, first_ns=first_ns, span_seconds=span, total=len(episodes))
        for service, members in by_service.items()
    ]
    return sorted(causes, key=lambda cause: (-cause.score, cause.service))


def _judge(
    service: str,
    members: list[Episode],
    by_service: dict[str, list[Episode]],
    *,
    first_ns: int,
    span_seconds: float,
    total: int,
) -> Cause:
    reasons: list[str] = []
    earliest = min(members, key=onset)
    late = (onset(earliest) - first_ns) / 1e9
    score = FIRST * (1.0 - min(late / span_seconds, 1.0))
    if late < GRAIN_SECONDS:
        reasons.append("alerted first")
    else:
        reasons.append(f"alerted {late:.0f} s after the first")
    blamers = sorted(
        other
        for other, others in by_service.items()
        if other != service and any(service.lower() in mentioned(episode) for episode in others)
    )
    if blamers:
        score += BLAMED * min(len(blamers) / max(len(by_service) - 1, 1) + 0.5, 1.0)
        reasons.append(f"named in the alerts of {', '.join(blamers)}")
    text = " ".join(f"{e.labels.get('alertname', '')} {e.annotations.get('summary', '')}" for e in members)
    if _CAUSE.search(text) and not _SYMPTOM.search(text):
        score += WORDS
        reasons.append("its alerts speak of a failure")
    elif _SYMPTOM.search(text) and not _CAUSE.search(text):
        score -= WORDS / 2
        reasons.append("its alerts speak of a symptom")
    if any(
        other.lower() in mentioned(episode) for other in by_service if other != service for episode in members
    ):
        score -= WORDS
        reasons.append("its own alerts point elsewhere")
    score += SHARE * len(members) / total
    return Cause(fingerprint=earliest.fingerprint, service=service, score=round(score, 3), reasons=reasons)
