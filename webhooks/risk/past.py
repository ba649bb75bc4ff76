"""What incidents, alerts and signals each service had, out of what is stored; for how likely the next is."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol

import msgspec
import numpy as np

from sidecar.records import EpisodeStart, Incident, Signal
from webhooks.correlate.entity import EntityReader

if TYPE_CHECKING:  # The engine is imported where it is used: in a worker, or by a command.
    from sidecar.engine.risk_features import ServicePast

MAX_INCIDENTS = 20_000
MAX_ALERTS = 200_000
COUNTED = ("P0", "P1", "P2")


class SignalReader(Protocol):
    """Where signals are read from; see `sidecar.store.signals.SignalStore`."""

    async def get(self, *, since_ns: int = 0) -> list[Signal]:
        """Signals since then, the oldest first."""
        ...

    async def since(self) -> int | None:
        """Since when signals are recorded, ns; None: they never were."""
        ...

    async def alert_starts(self, *, since_ns: int = 0, limit: int) -> list[EpisodeStart]:
        """Episodes that began since then, or are of incidents that did; the newest ones, in order of time."""
        ...


class RiskStore(Protocol):
    """What is asked of a store."""

    @property
    def signal_store(self) -> SignalReader:
        """Where the signals are."""
        ...

    async def incidents(self, *, limit: int = 100, state: str | None = None) -> list[Incident]:
        """Newest first."""
        ...


@dataclass(frozen=True)
class RiskPast:
    """Rows as they are stored; `signals_since_ns`: since when signals are recorded, None: never."""

    incidents: list[Incident]
    alerts: list[EpisodeStart]
    signals: list[Signal]
    signals_since_ns: int | None

    @property
    def begin_seconds(self) -> float | None:
        """When the first alert started; None where there was none."""
        return self.alerts[0].starts_at_ns / 1e9 if self.alerts else None

    @property
    def signals_begin_seconds(self) -> float | None:
        """Since when signals are recorded; None: never."""
        return None if self.signals_since_ns is None else self.signals_since_ns / 1e9

    def services(self) -> list[ServicePast]:
        """The past of each service that ever had an alert, by name."""
        return pasts_of(self.incidents, self.alerts, self.signals)


async def read_past(store: RiskStore, since_ns: int = 0) -> RiskPast:
    """What started since then, and all alerts of incidents that did; of very many the newest.

    Raises: StoreError.
    """
    signals = store.signal_store
    alerts = await signals.alert_starts(since_ns=since_ns, limit=MAX_ALERTS)
    incidents = [one for one in await store.incidents(limit=MAX_INCIDENTS) if one.started_at_ns >= since_ns]
    return RiskPast(incidents, alerts, await signals.get(since_ns=since_ns), await signals.since())


def pasts_of(
    incidents: Iterable[Incident], alerts: Iterable[EpisodeStart], signals: Iterable[Signal] = ()
) -> list[ServicePast]:
    """When alerts, incidents and signals of each service started; an incident is of every service in it.

    Signals of a service that never had an alert are left out: nothing could be learnt of it.
    """
    from sidecar.engine.risk_features import ServicePast

    began = {
        one.incident_id: one.started_at_ns / 1e9
        for one in incidents
        if one.priority in COUNTED and one.noise < 0.5
    }
    reader = EntityReader()
    # The same labels come again and again: what they are about is read once.
    about = lru_cache(maxsize=None)(lambda labels: reader.read(msgspec.json.decode(labels), {}).entity)
    times_of: defaultdict[str, list[float]] = defaultdict(list)
    started: defaultdict[str, set[float]] = defaultdict(set)
    for alert in alerts:
        service = about(alert.labels)
        times_of[service].append(alert.starts_at_ns / 1e9)
        if alert.incident_id in began:
            started[service].add(began[alert.incident_id])
    told: defaultdict[tuple[str, str], list[tuple[float, float]]] = defaultdict(list)
    for one in signals:
        told[one.kind, one.service].append((one.at_ns / 1e9, one.strength))
    pasts = []
    for service, times in sorted(times_of.items()):
        anomalies, changes, ahead = (
            np.array(sorted(told[kind, service]), dtype=np.float64).reshape(-1, 2)
            for kind in ("anomaly", "change", "ahead")
        )
        pasts.append(
            ServicePast(
                service,
                np.array(sorted(times)),
                np.array(sorted(started[service]), dtype=np.float64),
                anomalies[:, 0],
                anomalies[:, 1],
                changes[:, 0],
                ahead[:, 0],
                ahead[:, 1],
            )
        )
    return pasts
