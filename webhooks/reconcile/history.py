"""Alerts of the past into episodes: from Prometheus' `ALERTS` series, and from recorded webhooks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping

import msgspec
import numpy as np

from sidecar.errors import PayloadError
from sidecar.records import DEFAULT_TENANT, Episode
from sidecar.series import LabelSet, SeriesBatch
from webhooks.correlate.sighting import Key
from webhooks.intake.fold import Memory
from webhooks.intake.payload import parse, parse_time
from webhooks.offline import RecordedLine

FIRING = 'ALERTS{alertstate="firing"}'
GAP_STEPS = 2
"""One absent sample is a late scrape; two are an end."""


def from_series(
    batch: SeriesBatch, *, tenant: str = DEFAULT_TENANT, external: Mapping[str, str] | None = None
) -> list[Episode]:
    """Episodes that `FIRING` over a range shows, each to a step's accuracy, oldest first.

    What fires at the last step is left out: it is for Alertmanager to tell of. `external`: labels
    that Prometheus adds to what it sends to Alertmanager.
    """
    found: list[Episode] = []
    times = batch.timestamps
    for row, labels in enumerate(batch.labels):
        own = LabelSet({**(external or {}), **labels.without("__name__", "alertstate")})
        at = np.flatnonzero(np.isfinite(batch.values[row]))
        for run in np.split(at, np.flatnonzero(np.diff(at) > GAP_STEPS) + 1):
            if not len(run) or run[-1] > len(times) - 1 - GAP_STEPS:
                continue
            start_ns, end_ns = int(times[run[0]]) * 10**6, int(times[run[-1] + 1]) * 10**6
            found.append(_over(own, tenant, start_ns, end_ns))
    return sorted(found, key=lambda episode: (episode.starts_at_ns, episode.fingerprint))


def _over(labels: LabelSet, tenant: str, start_ns: int, end_ns: int) -> Episode:
    return Episode(
        tenant=tenant,
        fingerprint=labels.fingerprint(),
        starts_at_ns=start_ns,
        ends_at_ns=end_ns,
        labels=dict(labels.pairs),
        annotations={},
        generator_url="",
        first_seen_ns=start_ns,
        last_seen_ns=end_ns,
        state="resolved",
    )


def from_lines(lines: Iterable[bytes], *, warn: Callable[[str], object] = lambda _: None) -> list[Episode]:
    """Episodes that recorded webhooks tell of and that are over, oldest first."""
    memory = Memory()
    known: dict[Key, Episode] = {}
    for at, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = msgspec.json.decode(line, type=RecordedLine)
            delivery = parse(bytes(row.payload), received_at_ns=parse_time(row.received_at) or 0)
        except (msgspec.DecodeError, PayloadError, ValueError) as error:
            warn(f"line {at}: {' '.join(str(error).split())}")
            continue
        changes = memory.fold([delivery])
        memory.apply(changes)
        known.update((episode.key, episode) for episode in changes.durable())
    over = [episode for episode in known.values() if episode.state == "resolved"]
    return sorted(over, key=lambda episode: (episode.starts_at_ns, episode.fingerprint))


def unknown(episodes: Iterable[Episode], stored: Iterable[Episode]) -> list[Episode]:
    """Those that overlap no stored episode of the same alert: history never replaces what was received."""
    spans: defaultdict[tuple[str, str], list[tuple[int, int]]] = defaultdict(list)
    for one in stored:
        spans[one.tenant, one.fingerprint].append((one.starts_at_ns, one.ends_at_ns or one.last_seen_ns))
    return [
        episode
        for episode in episodes
        if not any(
            start <= (episode.ends_at_ns or episode.last_seen_ns) and episode.starts_at_ns <= end
            for start, end in spans[episode.tenant, episode.fingerprint]
        )
    ]
