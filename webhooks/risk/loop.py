"""The loop that tells how likely an incident starts on each service soon."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge

from sidecar.background import Background
from sidecar.config.forecast import RiskConfig
from sidecar.events import EventBus
from sidecar.offload import Offload
from sidecar.records import Signal
from sidecar.rounds import Rounds
from sidecar.telemetry import get_logger
from webhooks.risk.past import RiskPast, RiskStore, SignalReader, read_past
from webhooks.risk.signals import SignalRecorder

if TYPE_CHECKING:  # The engine is imported in a worker thread.
    from sidecar.engine.risk import Learnt, Risk

LEARN_SECONDS = 6 * 3600.0
RECENT_SECONDS = 31 * 86400.0
"""So far back a prediction looks."""
NOT_YET = "not_learnt_yet"
VALID_INTERVALS = 3.0


class SignalKeeper(SignalReader, Protocol):
    """Where signals are kept; see `sidecar.store.signals.SignalStore`."""

    async def begin(self, now_ns: int) -> None:
        """Note that signals are recorded from now on, if they were not before."""
        ...

    async def put(self, signals: Sequence[Signal]) -> None:
        """Keep these."""
        ...


class KeepingStore(RiskStore, Protocol):
    """A store that also takes signals."""

    @property
    def signal_store(self) -> SignalKeeper:
        """Where the signals are."""
        ...


class RiskSink(Protocol):
    """Where risks go."""

    def publish(self, risks: Sequence[Risk], *, valid_seconds: float) -> None:
        """Take all that are known now, in place of those that were known before."""
        ...


class RiskMetrics:
    """What the loop tells of itself."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.silent = Gauge(
            "pronoia_risk_silent",
            "1 while no incident risk is predicted, by the reason why.",
            ["reason"],
            registry=registry,
        )
        self.brier = Gauge(
            "pronoia_risk_brier_ratio",
            "Brier score of predictions over that of the base rate, on what was not learnt from.",
            ["horizon"],
            registry=registry,
        )
        self.signals = Counter(
            "pronoia_risk_signals_total",
            "Anomalies, changes and thresholds ahead that were stored to learn from.",
            ["kind"],
            registry=registry,
        )
        self.cycles = Counter(
            "pronoia_risk_cycles_total",
            "Rounds of predicting incidents, by outcome.",
            ["result"],
            registry=registry,
        )


class RiskLoop:
    """Stores signals, learns from the past now and then, and tells the risk of each service."""

    def __init__(
        self,
        config: RiskConfig,
        *,
        store: KeepingStore,
        recorder: SignalRecorder,
        sink: RiskSink,
        bus: EventBus,
        offload: Offload,
        metrics: RiskMetrics,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._config = config
        self._store = store
        self._recorder = recorder
        self._sink = sink
        self._bus = bus
        self._offload = offload
        self._metrics = metrics
        self._now = now
        self._log = get_logger("risk-loop")
        self._listening = Background("risk-signals")
        self._rounds = Rounds(
            "risk-loop",
            self.cycle,
            pause=lambda: config.interval,
            undone="incident risk not renewed",
            cycles=metrics.cycles,
        )
        self._learnt_at = float("-inf")
        self.learnt: Learnt | None = None
        self.risks: tuple[Risk, ...] = ()

    def start(self) -> None:
        """Begin, where it is enabled; a reload may have switched it off."""
        self._metrics.silent.clear()
        self._metrics.brier.clear()
        if self._config.enabled:
            self._metrics.silent.labels(NOT_YET).set(1)
            self._listening.start(self._recorder.listen(self._bus))
            self._rounds.start()

    async def stop(self) -> None:
        """End."""
        await self._listening.stop()
        await self._rounds.stop()

    async def cycle(self) -> None:
        """One round: keep what was signalled, learn if it is time, tell the risks.

        Raises: StoreError.
        """
        now = self._now()
        await self._store.signal_store.begin(int(now * 1e9))
        signals = self._recorder.take(now)
        await self._store.signal_store.put(signals)
        for one in signals:
            self._metrics.signals.labels(one.kind).inc()
        if self.learnt is None or now - self._learnt_at >= LEARN_SECONDS:
            past = await read_past(self._store)
            self.learnt, self._learnt_at = await self._offload.run(_learn, past, now), now
            self._tell_learnt(self.learnt)
        if self.learnt.models:
            recent = await read_past(self._store, int((now - RECENT_SECONDS) * 1e9))
            self.risks = await self._offload.run(_predict, self.learnt, recent, now)
        else:
            self.risks = ()
        self._sink.publish(self.risks, valid_seconds=VALID_INTERVALS * self._config.interval)

    def _tell_learnt(self, learnt: Learnt) -> None:
        self._metrics.silent.clear()
        if learnt.reason:
            self._metrics.silent.labels(learnt.reason).set(1)
        self._metrics.brier.clear()
        for trial in learnt.trials:
            self._metrics.brier.labels(trial.window).set(trial.brier / trial.base_brier)
        self._log.info(
            "incident risk learnt",
            silent=learnt.silent,
            windows=",".join(learnt.models),
            with_signals=learnt.with_signals,
        )


def _learn(past: RiskPast, now: float) -> Learnt:
    from sidecar.engine.risk import learn

    begin = past.begin_seconds
    return learn(
        past.services(),
        begin=now if begin is None else begin,
        now=now,
        signals_begin=past.signals_begin_seconds,
    )


def _predict(learnt: Learnt, recent: RiskPast, now: float) -> tuple[Risk, ...]:
    return learnt.predict(recent.services(), now)
