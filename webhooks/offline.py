"""Recorded webhooks into incidents: what `pronoia correlate` does, by the same parts as the live loop."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from itertools import count
from typing import Any

import msgspec

from sidecar.errors import PayloadError
from sidecar.records import Episode
from webhooks.correlator import Correlator, Group, Weights
from webhooks.entity import EntityReader
from webhooks.fold import Memory
from webhooks.noise import NoiseModel, NoiseWeights
from webhooks.payload import parse, parse_time
from webhooks.priority import Standing, judge
from webhooks.rootcause import CauseWeights, rank, shares
from webhooks.sighting import sight
from webhooks.topology import Topology

NOISE_AT = 0.5


class _Line(msgspec.Struct):
    received_at: str
    payload: msgspec.Raw


def correlate(
    lines: Iterable[bytes],
    *,
    topology: Topology | None = None,
    identity: Iterable[str] = (),
    weights: Weights | None = None,
    noise: NoiseWeights | None = None,
    causes: CauseWeights | None = None,
    warn: Any = lambda _: None,
) -> list[dict[str, Any]]:
    """Incidents of recorded deliveries, in the order in which they began."""
    graph = topology or Topology()
    reader = EntityReader(graph, labels=identity)
    ids = count(1)
    correlator = Correlator(graph, weights=weights, new_id=lambda: f"inc-{next(ids):05d}")
    model = NoiseModel(correlator, noise)
    memory = Memory()
    shown: dict[Any, Episode] = {}
    now = 0.0
    for at, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = msgspec.json.decode(line, type=_Line)
            received = parse_time(row.received_at) or 0
            delivery = parse(bytes(row.payload), received_at_ns=received)
        except (msgspec.DecodeError, PayloadError, ValueError) as error:
            warn(f"line {at}: {error}")
            continue
        now = max(now, received / 1e9)
        correlator.advance(now)
        changes = memory.fold([delivery])
        memory.apply(changes)
        fresh = [e for e in changes.durable() if e.key not in shown]
        for episode in changes.durable():
            known = shown.get(episode.key)
            if known is None:
                held = memory.episodes.get((episode.tenant, episode.fingerprint))
                shown[episode.key] = held if held is not None and held.key == episode.key else episode
            elif known is not episode:
                known.state, known.ends_at_ns, known.last_seen_ns = (
                    episode.state,
                    episode.ends_at_ns,
                    episode.last_seen_ns,
                )
        for episode in sorted(fresh, key=lambda e: e.starts_at_ns):
            correlator.add(sight(shown[episode.key], reader), now=now)
    groups = sorted(correlator.groups.values(), key=lambda group: (group.first, group.incident_id))
    for group in groups:
        for seen in group.members.values():
            model.learn(seen, group)
    return [_row(group, correlator, model, reader, now, causes) for group in groups]


def _row(
    group: Group,
    correlator: Correlator,
    model: NoiseModel,
    reader: EntityReader,
    now: float,
    causes: CauseWeights | None,
) -> dict[str, Any]:
    doubts = {key: model.judge(seen, group, now=now) for key, seen in group.members.items()}
    real = [seen for key, seen in group.members.items() if doubts[key].probability < NOISE_AT]
    noisy = sorted(
        {seen.episode.fingerprint for seen in group.members.values()} - {s.episode.fingerprint for s in real}
    )
    topology = correlator.topology
    ranked = rank(
        group,
        real or group.members.values(),
        topology,
        grain_seconds=15.0 + correlator.grid.step_seconds,
        # Only of what had begun by then: what comes later must not be known.
        usual=shares(g.parties.keys() for g in correlator.groups.values() if g.first <= group.first),
        weights=causes,
    )
    first = ranked[0]
    urgency = judge(group, real, Standing(reader), cause=first.service)
    ended = group.ended()
    return {
        "incident_id": group.incident_id,
        "alerts": sorted({seen.episode.fingerprint for seen in group.members.values()}),
        "episodes": [
            {"fingerprint": seen.episode.fingerprint, "startsAt": iso(seen.episode.starts_at_ns)}
            for seen in sorted(group.members.values(), key=lambda s: (s.onset, s.key))
        ],
        "root_cause": {"fingerprint": first.fingerprint, "service": reader.written(first.service)},
        "ranked_services": [reader.written(cause.service) for cause in ranked[:10]],
        "priority": urgency.priority,
        "category": urgency.category,
        "noise": not real,
        "noise_alerts": noisy,
        "started_at": iso(int(group.first * 1e9)),
        "ended_at": iso(int(ended * 1e9)) if ended is not None else None,
        "reasons": {"cause": first.reasons, "priority": list(urgency.reasons)},
    }


def iso(time_ns: int) -> str:
    """RFC 3339 in UTC, to the microsecond."""
    seconds, rest = divmod(time_ns, 1_000_000_000)
    stamp = datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest // 1000)
    return stamp.isoformat().replace("+00:00", "Z")
