"""The probable root cause of an incident: services ranked, each with its reasons in words.

Pure. What counts: who began first, whom the others' texts blame, whether the
alert's words are of a cause (down, failing, saturated) or of a symptom (slow,
errors from elsewhere), and who has the larger share of the alerts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from sidecar.records import Cause
from webhooks.correlate import ServiceFacts

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


MAX_SERVICES = 200
"""Services that are compared with each other; an incident of more is a storm, and its first movers count."""


def rank(services: Iterable[ServiceFacts]) -> list[Cause]:
    """Services of the incident, the most probable cause first; empty for none."""
    facts = sorted(services, key=lambda f: (f.first_onset_ns, f.service))[:MAX_SERVICES]
    if not facts:
        return []
    span = max((facts[-1].first_onset_ns - facts[0].first_onset_ns) / 1e9, GRAIN_SECONDS)
    total = sum(f.n_episodes for f in facts)
    causes = [_judge(f, facts, span_seconds=span, total=total) for f in facts]
    return sorted(causes, key=lambda cause: (-cause.score, cause.service))


def _judge(own: ServiceFacts, facts: list[ServiceFacts], *, span_seconds: float, total: int) -> Cause:
    reasons: list[str] = []
    late = (own.first_onset_ns - facts[0].first_onset_ns) / 1e9
    score = FIRST * (1.0 - min(late / span_seconds, 1.0))
    if late < GRAIN_SECONDS:
        reasons.append("alerted first")
    else:
        reasons.append(f"alerted {late:.0f} s after the first")
    others = [other for other in facts if other is not own]
    name = own.service.lower()
    blamers = sorted(other.service for other in others if name in other.words)
    if blamers:
        score += BLAMED * min(len(blamers) / max(len(others), 1) + 0.5, 1.0)
        reasons.append(f"named in the alerts of {', '.join(blamers[:5])}")
    text = " ".join(own.titles)
    if _CAUSE.search(text) and not _SYMPTOM.search(text):
        score += WORDS
        reasons.append("its alerts speak of a failure")
    elif _SYMPTOM.search(text) and not _CAUSE.search(text):
        score -= WORDS / 2
        reasons.append("its alerts speak of a symptom")
    if any(other.service.lower() in own.words for other in others):
        score -= WORDS
        reasons.append("its own alerts point elsewhere")
    score += SHARE * own.n_episodes / total
    return Cause(fingerprint=own.fingerprint, service=own.service, score=round(score, 3), reasons=reasons)
