"""Gathers what may herald incidents: anomalies of the bus, changes, thresholds that come near."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from sidecar.events import EventBus
from sidecar.records import Signal
from sidecar.series import ThresholdEta
from sidecar.telemetry import get_logger
from webhooks.correlate.entity import EntityReader

MAX_WAITING = 10_000
"""Anomalies that wait to be stored; of more, a storm, the rest is not needed."""
NEAR_SECONDS = 86400.0
NEAR_PROBABILITY = 0.5

Changes = Callable[[], Iterable[tuple[str, float, str, str]]]
"""Service, time in seconds, kind and words of each change that is known."""


class SignalRecorder:
    """Holds signals until they are stored; one of a kind, service and time, the strongest."""

    def __init__(self, *, changes: Changes, etas: Callable[[], Sequence[ThresholdEta]]) -> None:
        self._changes = changes
        self._etas = etas
        self._reader = EntityReader()
        self._log = get_logger("risk-signals")
        self._waiting: dict[tuple[int, str], float] = {}
        self._told_changes: set[tuple[str, float]] = set()
        self._near: set[tuple[str, str]] = set()

    async def listen(self, bus: EventBus) -> None:
        """Take anomalies of the bus, for ever."""
        with bus.subscribe() as events:
            async for event in events:
                if event.kind == "anomaly.started":
                    try:
                        self.take_anomaly(event.facts)
                    except Exception:
                        # The loop's edge: one odd anomaly must not end the listening.
                        self._log.exception("an anomaly could not be taken")

    def take_anomaly(self, facts: Mapping[str, Any]) -> None:
        """Take an anomaly's facts as the metrics loop publishes them."""
        key = (facts["timestamp_ms"] * 1_000_000, self._service(facts["labels"]))
        if key in self._waiting or len(self._waiting) < MAX_WAITING:
            self._waiting[key] = max(self._waiting.get(key, 0.0), float(facts["score"] or 1.0))

    def take(self, now: float) -> list[Signal]:
        """Everything since the last time."""
        anomalies = [Signal(at, "anomaly", who, score) for (at, who), score in self._waiting.items()]
        self._waiting.clear()
        known = {(who, at) for who, at, _, _ in self._changes()}
        changes = [Signal(int(at * 1e9), "change", who) for who, at in sorted(known - self._told_changes)]
        self._told_changes = known
        return [*anomalies, *changes, *self._coming_near(now)]

    def _coming_near(self, now: float) -> list[Signal]:
        near: dict[tuple[str, str], float] = {}
        for eta in self._etas():
            if eta.seconds <= NEAR_SECONDS and eta.probability >= NEAR_PROBABILITY:
                key = (self._service(eta.labels), eta.rule)
                near[key] = min(eta.seconds, near.get(key, NEAR_SECONDS))
        # What was near before has been told; it counts again once it was away.
        new = {key: seconds for key, seconds in near.items() if key not in self._near}
        self._near = set(near)
        return [Signal(int(now * 1e9), "ahead", who, seconds) for (who, _), seconds in sorted(new.items())]

    def _service(self, labels: Mapping[str, str]) -> str:
        return self._reader.read(labels, {}).entity
