"""Recorded webhooks into incidents: what `pronoia correlate` does, by the same parts as the live loop."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from itertools import count
from typing import Any

import msgspec

from sidecar.errors import PayloadError
from sidecar.records import Episode, Feedback
from webhooks.correlate.group import Group
from webhooks.correlate.meaning import Encode
from webhooks.correlate.online import Correlator
from webhooks.correlate.sighting import Key
from webhooks.correlate.topology import Topology
from webhooks.correlate.weights import Weights
from webhooks.intake.fold import Changes, Memory
from webhooks.intake.payload import parse, parse_time
from webhooks.judge.analyst import Analyst, UsualSoFar, Verdict
from webhooks.judge.cause import CauseWeights
from webhooks.judge.noise import NoiseWeights


class RecordedLine(msgspec.Struct):
    """One delivery of a record: when it was received, and its body."""

    received_at: str
    payload: msgspec.Raw


def correlate(
    lines: Iterable[bytes],
    *,
    topology: Topology | None = None,
    identity: Iterable[str] = (),
    weights: Weights | None = None,
    encode: Encode | None = None,
    noise: NoiseWeights | None = None,
    causes: CauseWeights | None = None,
    feedback: Iterable[Feedback] = (),
    warn: Callable[[str], object] = lambda _: None,
) -> list[dict[str, Any]]:
    """Incidents of recorded deliveries, in the order in which they began.

    Deliveries are taken one by one, and grouping never looks ahead; what an incident is judged
    to be is what is known at the end of the record. What is one incident by then and may still
    turn out to be several is written apart, each part with the ids of those it is with so far.
    """
    ids = count(1)
    correlator = Correlator(topology, weights=weights, encode=encode, new_id=lambda: f"inc-{next(ids):05d}")
    analyst = Analyst(topology, identity=identity, correlator=correlator, noise=noise, causes=causes)
    correlator.bonds.verdicts.heed(feedback)
    memory = Memory()
    shown: dict[Key, Episode] = {}
    now = 0.0
    for at, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = msgspec.json.decode(line, type=RecordedLine)
            received_at_ns = parse_time(row.received_at) or 0
            delivery = parse(bytes(row.payload), received_at_ns=received_at_ns)
        except (msgspec.DecodeError, PayloadError, ValueError) as error:
            warn(f"line {at}: {' '.join(str(error).split())}")
            continue
        now = max(now, received_at_ns / 1e9)
        correlator.advance(now)
        changes = memory.fold([delivery])
        memory.apply(changes)
        for episode in changes.durable():
            correlator.refresh(episode)
        for episode in sorted(_fresh(changes, memory, shown), key=lambda e: e.starts_at_ns):
            correlator.add(analyst.sight(episode), now=now)
    correlator.advance(now)
    correlator.settle()  # What began just before the end would never be put with what it belongs to.
    groups = sorted(correlator.groups.values(), key=lambda group: (group.first, group.incident_id))
    for group in groups:
        analyst.learn(group)
    usual = UsualSoFar()
    rows = []
    for group in groups:
        usual.add(group.parties.keys())
        shares = usual.shares(_named(group, analyst))
        lasting = correlator.lasting(group)
        together = [part.incident_id for part in lasting]
        rows += [_row(part, analyst.consider(part, now=now, usual=shares), together) for part in lasting]
    return rows


def _fresh(changes: Changes, memory: Memory, shown: dict[Key, Episode]) -> list[Episode]:
    """Episodes not shown before; those that were are brought up to date."""
    fresh: list[Episode] = []
    for episode in changes.durable():
        known = shown.get(episode.key)
        if known is None:
            held = memory.episodes.get((episode.tenant, episode.fingerprint))
            known = shown[episode.key] = held if held is not None and held.key == episode.key else episode
            fresh.append(known)
        elif known is not episode:
            known.state, known.ends_at_ns = episode.state, episode.ends_at_ns
            known.last_seen_ns = episode.last_seen_ns
    return fresh


def _named(group: Group, analyst: Analyst) -> set[str]:
    """Whatever may be called a cause of the incident."""
    names = {*group.parties, *group.mentioned, *group.nodes}
    for entity in group.parties:
        names |= analyst.reader.topology.callees.get(entity, {}).keys()
    return names


def _row(group: Group, verdict: Verdict, together: list[str]) -> dict[str, Any]:
    real = {key[1] for key in group.members if not verdict.is_noise(key)}
    everything = {key[1] for key in group.members}
    first = verdict.causes[0]
    ended = group.ended()
    return {
        "incident_id": group.incident_id,
        "so_far_with": [other for other in together if other != group.incident_id],
        "alerts": sorted(everything),
        "episodes": [
            {"fingerprint": seen.episode.fingerprint, "startsAt": iso(seen.episode.starts_at_ns)}
            for seen in sorted(group.members.values(), key=lambda s: (s.onset, s.key))
        ],
        "root_cause": {"fingerprint": first.fingerprint, "service": first.service},
        "ranked_services": [cause.service for cause in verdict.causes[:10]],
        "priority": verdict.urgency.priority,
        "category": verdict.urgency.category,
        "noise": not real,
        "noise_probability": round(verdict.noise, 3),
        "noise_alerts": sorted(everything - real),
        "started_at": iso(min(seen.episode.starts_at_ns for seen in group.members.values())),
        "ended_at": iso(int(ended * 1e9)) if ended is not None else None,
        "reasons": {"cause": first.reasons, "priority": list(verdict.urgency.reasons)},
    }


def iso(time_ns: int) -> str:
    """RFC 3339 in UTC, to the microsecond."""
    seconds, rest = divmod(time_ns, 1_000_000_000)
    stamp = datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest // 1000)
    return stamp.isoformat().replace("+00:00", "Z")
