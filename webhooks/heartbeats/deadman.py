"""The dead man's switch: a lost heartbeat becomes an alert of our own, named by where the way is broken."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol
from urllib.parse import urlsplit

import msgspec
from prometheus_client import CollectorRegistry, Gauge

from sidecar.background import Background
from sidecar.errors import PullError, StoreError
from sidecar.records import AlertEvent, Delivery, Episode
from sidecar.telemetry import get_logger, redact_url
from webhooks.heartbeats.heartbeat import Heartbeats, Lost, Way, from_document, to_document
from webhooks.notes import NoteStore
from webhooks.own import inner_delivery, is_own, own_event

REPEAT_SECONDS = 3600.0
"""So often an alert of our own is repeated, so that nobody doubts it for being silent."""

LEAP_SECONDS = 30.0
"""What a clock is ahead or behind by less is no more than a pause among others."""

RECEIVER = "dead man's switch"
NOTE = "heartbeats"
ARRIVING = "AlertsNotArriving", "alerting", "Alerts no longer arrive"


class Alertmanager(Protocol):
    """What is asked of an Alertmanager."""

    async def alerts(self) -> list[dict[str, Any]]:
        """Every alert it holds."""
        ...


class DeadManMetrics:
    """What is told of heartbeats."""

    def __init__(self, registry: CollectorRegistry) -> None:
        ways = ["cluster", "alertmanager"]
        self.delay = Gauge(
            "pronoia_heartbeat_delay_seconds",
            "From the evaluation of the always-firing alert to its reception here.",
            ways,
            registry=registry,
        )
        self.last = Gauge(
            "pronoia_heartbeat_last_timestamp_seconds",
            "When the always-firing alert was last received.",
            ways,
            registry=registry,
        )
        self.lost = Gauge(
            "pronoia_heartbeat_lost",
            "1 while the always-firing alert of a cluster and Alertmanager is overdue.",
            ways,
            registry=registry,
        )


class DeadMan:
    """Looks at the heartbeats now and then, and raises and ends alerts of our own.

    `evaluates(alertname, cluster)` says whether Prometheus fires the heartbeat now, of any cluster
    where that is empty; None where that cannot be told; it raises PullError where Prometheus does not answer.
    """

    def __init__(
        self,
        heartbeats: Heartbeats,
        *,
        accept: Callable[[Delivery], Awaitable[None]],
        known: Callable[[], Mapping[tuple[str, str], Episode]],
        evaluates: Callable[[str, str], Awaitable[bool | None]],
        alertmanagers: Mapping[str, Alertmanager],
        store: NoteStore,
        metrics: DeadManMetrics,
        look_seconds: float = 15.0,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._heartbeats = heartbeats
        self._accept = accept
        self._known = known
        self._evaluates = evaluates
        self._alertmanagers = alertmanagers
        self._store = store
        self._metrics = metrics
        self._look_seconds = look_seconds
        self._now = now
        self._listening_since = now()
        self._raised: dict[Way, AlertEvent] = {}
        self._raised_at: dict[Way, float] = {}
        """When, by today's clock; the alerts' own starts are what they were."""
        self._repeated = now()
        self._saved: bytes | None = None
        self._task = Background("dead-man")
        self._log = get_logger("dead-man")
        self.last_error: str | None = None

    def start(self) -> None:
        """Begin to look."""
        self._task.start(self._run())

    async def stop(self) -> None:
        """End."""
        await self._task.stop()

    async def _run(self) -> None:
        while True:
            by_clock, passed = self._now(), time.monotonic()
            try:
                if self._saved is None:
                    await self._recall()
                await self.look()
                self.last_error = None
            except StoreError as error:
                self.last_error = str(error)
            except Exception as error:
                # The loop's edge: the watch over everything else must not end by an odd answer.
                self.last_error = repr(error)
                self._log.exception("looking at heartbeats broke off")
            await asyncio.sleep(self._look_seconds)
            self.heed_leap(self._now() - by_clock - (time.monotonic() - passed))

    async def _recall(self) -> None:
        """Remember heartbeats, and alerts of our own, from before a restart."""
        body = await self._store.note(NOTE)
        for way, pulse in from_document(msgspec.json.decode(body) if body else ()).items():
            self._heartbeats.pulses.setdefault(way, pulse)
        for episode in self._known().values():
            labels = episode.labels
            # Anybody may label an alert as ours.
            ours = is_own(labels) and {"alertname", "alertmanager"} <= labels.keys()
            if ours and episode.state != "resolved":
                way = Way(episode.tenant, labels.get("cluster", ""), labels["alertmanager"])
                self._raised[way] = _event(labels, episode.annotations, starts_at_ns=episode.starts_at_ns)
                self._raised_at[way] = min(episode.starts_at_ns / 1e9, self._now())
        self._saved = body or b""

    async def look(self) -> None:
        """Raise what is lost, end what is alive again.

        Raises: StoreError where that is not stored; then it is tried again.
        """
        now = self._now()
        found = self._heartbeats.lost(now, listening_since=self._listening_since)
        lost = {one.way: one for one in found}
        self._measure(lost)
        await self._end_what_is_back(lost)
        again = now - self._repeated >= REPEAT_SECONDS
        if again:
            self._repeated = now
        for way, one in lost.items():
            event = self._raised.get(way)
            if event is None:
                event = await self._name(one, now)
                self._log.error("heartbeat lost", cluster=way.cluster, why=event.annotations["summary"])
            elif not again:
                continue
            await self._tell(way, event)
            self._raised[way] = event
            self._raised_at.setdefault(way, event.starts_at_ns / 1e9)
        document = msgspec.json.encode(to_document(self._heartbeats.pulses))
        if document != self._saved:
            await self._store.put_note(NOTE, document)
            self._saved = document

    def heed_leap(self, seconds: float) -> None:
        """Take in that the clock was set, or the machine slept: what it leapt over is no silence.

        `seconds`: by how much the clock ran ahead of the time that passed; negative where it was set back.
        """
        if abs(seconds) < LEAP_SECONDS:
            return
        self._listening_since = self._now()
        if seconds < 0.0:
            # By today's clock, all that was heard and raised was that much earlier.
            self._heartbeats.set_back(-seconds)
            self._raised_at = {way: at + seconds for way, at in self._raised_at.items()}
            self._repeated += seconds

    async def _end_what_is_back(self, lost: Mapping[Way, Lost]) -> None:
        at_ns = int(self._now() * 1e9)
        for way, event in list(self._raised.items()):
            beats = [
                pulse.last
                for known, pulse in self._heartbeats.pulses.items()
                if (known.tenant, known.cluster) == (way.tenant, way.cluster)
            ]
            # After a restart nothing is lost yet; only a beat since then proves that it is back.
            if way in lost or max(beats, default=0.0) <= self._raised_at[way]:
                continue
            await self._tell(way, _event(event.labels, event.annotations, event.starts_at_ns, at_ns))
            del self._raised[way], self._raised_at[way]
            self._log.info("heartbeat is back", cluster=way.cluster)

    async def _tell(self, way: Way, event: AlertEvent) -> None:
        at_ns = int(self._now() * 1e9)
        await self._accept(
            inner_delivery([event], receiver=RECEIVER, received_at_ns=at_ns, tenant=way.tenant)
        )

    async def _name(self, lost: Lost, now: float) -> AlertEvent:
        """The alert for a lost way, by what Prometheus and Alertmanager themselves say."""
        try:
            name, component, words = await self._diagnose(lost)
        except Exception:
            # The loop's edge: that it is lost is known, and must be told, whatever the neighbours answer.
            self._log.exception("where a heartbeat was lost cannot be told")
            name, component, words = ARRIVING
        way, silent = lost.way, now - lost.pulse.last
        who = f"cluster {way.cluster}" if way.cluster else "this cluster"
        labels = {
            "severity": "critical",
            "component": component,
            "cluster": way.cluster,
            "alertmanager": way.alertmanager,
        }
        summary = f"{words}: nothing heard of {lost.pulse.alertname} of {who} for {silent:.0f} s"
        described = {
            "summary": summary,
            "description": "Monitoring is down: other alerts may be lost as well.",
        }
        return own_event(name, labels, described, starts_at_ns=int(now * 1e9))

    async def _diagnose(self, lost: Lost) -> tuple[str, str, str]:
        stopped = "PrometheusNotEvaluating", "prometheus"
        silent = "AlertmanagerNotDelivering", "alertmanager"
        if lost.pulse.ended:
            return *stopped, "Prometheus no longer fires what fires always"
        if lost.whole_cluster:
            try:
                fires = await self._evaluates(lost.pulse.alertname, self._which(lost.way))
            except PullError:
                return *stopped, "Prometheus does not answer"
            if fires is False:
                return *stopped, "Prometheus answers, and evaluates the rule no more"
        sender = self._sender(lost.way)
        if sender is None:
            return ARRIVING
        try:
            held = await sender.alerts()
        except PullError:
            return *silent, "Alertmanager does not answer"
        if any((one.get("labels") or {}).get("alertname") == lost.pulse.alertname for one in held):
            return *silent, "Alertmanager holds it and does not deliver it"
        return *silent, "Alertmanager answers, and alerts of Prometheus do not reach it"

    def _which(self, way: Way) -> str:
        """The cluster to ask Prometheus for; empty where there is one, which its own alerts do not name."""
        return way.cluster if len({known.cluster for known in self._heartbeats.pulses}) > 1 else ""

    def _sender(self, way: Way) -> Alertmanager | None:
        """The configured Alertmanager that a way goes through: by its address, or as the only one."""
        if len(self._alertmanagers) == 1:
            return next(iter(self._alertmanagers.values()))
        place = urlsplit(way.alertmanager).netloc
        return next((one for url, one in self._alertmanagers.items() if urlsplit(url).netloc == place), None)

    def _measure(self, lost: Mapping[Way, Lost]) -> None:
        for gauge in (self._metrics.delay, self._metrics.last, self._metrics.lost):
            gauge.clear()
        for way, pulse in self._heartbeats.pulses.items():
            labels = way.cluster, redact_url(way.alertmanager)
            self._metrics.last.labels(*labels).set(pulse.last)
            self._metrics.lost.labels(*labels).set(way in lost)
            if pulse.delay_seconds is not None:
                self._metrics.delay.labels(*labels).set(pulse.delay_seconds)


def _event(
    labels: Mapping[str, str],
    annotations: Mapping[str, str],
    starts_at_ns: int,
    ends_at_ns: int | None = None,
) -> AlertEvent:
    rest = {name: value for name, value in labels.items() if name != "alertname"}
    return own_event(labels["alertname"], rest, annotations, starts_at_ns=starts_at_ns, ends_at_ns=ends_at_ns)
