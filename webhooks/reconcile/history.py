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
    runs = AlertRuns(tenant=tenant, external=external)
    runs.take(batch)
    return runs.episodes()


class AlertRuns:
    """The same over ranges that follow each other: a week's alerts at once may be more than memory holds."""

    def __init__(self, *, tenant: str = DEFAULT_TENANT, external: Mapping[str, str] | None = None) -> None:
        self._tenant, self._external = tenant, external or {}
        self._last: dict[LabelSet, tuple[int, int]] = {}
        """Of each alert's newest run, first and last sample in ms."""
        self._over: list[Episode] = []
        self._step_ms = self._until_ms = 0

    def take(self, batch: SeriesBatch) -> None:
        """Take the next range, of the same step; for a worker thread where there are many alerts."""
        times = batch.timestamps
        if len(times) > 1:
            self._step_ms = int(times[1] - times[0])
        if len(times):
            self._until_ms = int(times[-1])
        for row, labels in enumerate(batch.labels):
            at = np.flatnonzero(np.isfinite(batch.values[row]))
            for run in np.split(at, np.flatnonzero(np.diff(at) > GAP_STEPS) + 1) if len(at) else ():
                self._go_on(labels, int(times[run[0]]), int(times[run[-1]]))

    def episodes(self) -> list[Episode]:
        """Those that were over before the last steps of all ranges."""
        ended_ms = self._until_ms - GAP_STEPS * self._step_ms
        newest = [self._episode(one, *run) for one, run in self._last.items() if run[1] <= ended_ms]
        return sorted([*self._over, *newest], key=lambda one: (one.starts_at_ns, one.fingerprint))

    def _go_on(self, labels: LabelSet, first_ms: int, last_ms: int) -> None:
        before = self._last.get(labels)
        if before is not None and first_ms - before[1] <= GAP_STEPS * self._step_ms:
            first_ms = before[0]
        elif before is not None:
            self._over.append(self._episode(labels, *before))
        self._last[labels] = first_ms, last_ms

    def _episode(self, labels: LabelSet, first_ms: int, last_ms: int) -> Episode:
        own = LabelSet({**self._external, **labels.without("__name__", "alertstate")})
        return _over(own, self._tenant, first_ms * 10**6, (last_ms + self._step_ms) * 10**6)


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
