"""Incidents as alerts: one for each, posted to Alertmanager, so that what people have there carries it.

Sent again and again with an end in the near future, as Prometheus sends its
own; so when pronoia stops, they end by themselves. The reserved label keeps
them from becoming incidents again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge

from sidecar.background import Background, woken
from sidecar.config.response import SyntheticConfig
from sidecar.errors import PullError
from sidecar.records import Incident
from sidecar.telemetry import get_logger
from webhooks.notify.message import document, incident_labels, stamp

KEEP_SECONDS = 300.0
"""An end is sent for so long, as https://prometheus.io/docs/alerting/latest/alerts_api/ asks."""
ENDS_AFTER_RESENDS = 4.0
SETTLE_SECONDS = 5.0
"""How often an incident that may yet go into another is looked at again."""
INHIBITS_LABEL = "pronoia_inhibits"
URGENT = frozenset({"P0", "P1"})


class Receiver(Protocol):
    """An Alertmanager."""

    async def post_alerts(self, alerts: list[dict[str, Any]]) -> None:
        """Take alerts. Raises: PullError."""
        ...


class SyntheticMetrics:
    """What is told of these alerts."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.posts = Counter(
            "pronoia_synthetic_alert_posts_total",
            "Requests that told an Alertmanager of incidents as alerts, by outcome.",
            ["result"],
            registry=registry,
        )
        self.active = Gauge(
            "pronoia_synthetic_alerts_active", "Incidents that are told of as alerts.", registry=registry
        )
        for result in ("ok", "error"):
            self.posts.labels(result)


@dataclass
class _Told:
    """One alert that is being sent."""

    labels: dict[str, str]
    urgent: bool
    starts_at: str
    annotations: dict[str, str]
    ended_at: float | None = None


class SyntheticAlerts:
    """Sends the alerts of open incidents. An incident's labels stay as they were when it was first sent."""

    def __init__(
        self,
        receivers: Mapping[str, Receiver],
        config: SyntheticConfig,
        *,
        metrics: SyntheticMetrics,
        facts: Callable[[Incident], Mapping[str, object]] = lambda _: {},
        settled: Callable[[str], bool] = lambda _: True,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._receivers = receivers
        self._config = config
        self._metrics = metrics
        self._facts = facts
        self._settled = settled
        self._now = now
        self._sends = bool(receivers) and config.enabled
        self._told: dict[str, _Told] = {}
        self._past: list[_Told] = []
        self._waiting: dict[str, Incident] = {}
        self._unsettled = False
        self._wake = asyncio.Event()
        self._task = Background("synthetic-alerts")
        self._log = get_logger("synthetic")

    def start(self) -> None:
        """Begin to send, where there is anybody to send to."""
        if self._sends:
            self._task.start(self._run())

    async def stop(self) -> None:
        """End; the alerts end some resends later."""
        await self._task.stop()

    def consider(self, incidents: Iterable[Incident]) -> None:
        """Take incidents as they now are; nothing where nobody is sent any."""
        if not self._sends:
            return
        for incident in incidents:
            self._waiting[incident.incident_id] = incident
        self._wake.set()

    async def _run(self) -> None:
        while True:
            try:
                await self.send()
            except Exception:
                # The loop's edge: an odd answer must not end the sending.
                self._log.exception("sending alerts of incidents broke off")
            pause = min(self._config.resend, SETTLE_SECONDS) if self._unsettled else self._config.resend
            if await woken(self._wake, pause):
                # What changes within a second goes out together.
                await asyncio.sleep(min(1.0, self._config.resend))
                self._wake.clear()

    async def send(self) -> None:
        """Send every alert as it now is."""
        self._unsettled = False
        for incident in list(self._waiting.values()):
            try:
                self._take(incident)
            except Exception:
                # The loop's edge: one odd incident must not end the others' alerts.
                self._log.exception("an incident could not be made an alert", incident=incident.incident_id)
        now = self._now()
        self._past = [one for one in self._past if now - (one.ended_at or now) < KEEP_SECONDS]
        alerts = [self._alert(one, now) for one in (*self._told.values(), *self._past)]
        self._metrics.active.set(len(self._told))
        for address, receiver in self._receivers.items() if alerts else ():
            try:
                await receiver.post_alerts(alerts)
            except PullError as error:
                self._metrics.posts.labels("error").inc()
                self._log.warning(
                    "incidents not posted, will try again", alertmanager=address, err=str(error)
                )
            else:
                self._metrics.posts.labels("ok").inc()

    def _take(self, incident: Incident) -> None:
        incident_id = incident.incident_id
        before = self._told.get(incident_id)
        if incident.state != "open":
            del self._waiting[incident_id]
            self._end(incident_id)
            return
        if before is None and incident.priority > self._config.min_priority:
            return
        if before is None and not self._settled(incident_id):
            self._unsettled = True
            return
        made = self._make(incident)
        if before is None:
            # Open anew, it must not be told to have ended as well: of both Alertmanager takes the end.
            self._past = [one for one in self._past if one.labels != made.labels]
            self._told[incident_id] = made
        elif made.urgent and not before.urgent:
            # Routes ask for its severity, which is in its labels: as what it has become it is another alert.
            self._end(incident_id)
            self._told[incident_id] = made
        else:
            before.annotations = made.annotations

    def _end(self, incident_id: str) -> None:
        told = self._told.pop(incident_id, None)
        if told is not None:
            told.ended_at = self._now()
            self._past.append(told)

    def _make(self, incident: Incident) -> _Told:
        made = document("opened", incident, key="", facts=self._facts(incident))
        labels = incident_labels(made["incident"])
        by = next((name for name in self._config.inhibit_by if incident.shared_labels.get(name)), None)
        if by is not None:
            labels[INHIBITS_LABEL] = by
        return _Told(
            labels=labels,
            urgent=incident.priority in URGENT,
            starts_at=stamp(incident.started_at_ns),
            annotations={"summary": made["title"], "description": made["text"]},
        )

    def _alert(self, told: _Told, now: float) -> dict[str, Any]:
        ends = told.ended_at if told.ended_at is not None else now + ENDS_AFTER_RESENDS * self._config.resend
        return {
            "labels": told.labels,
            "annotations": told.annotations,
            "startsAt": told.starts_at,
            "endsAt": stamp(int(ends * 1e9)),
            "generatorURL": "",
        }


def inhibit_rules(by: Sequence[str]) -> list[dict[str, Any]]:
    """Alertmanager's rules with which an incident's alert inhibits its members, for its configuration file.

    One for each label that incidents may inhibit by. An incident names the one it inhibits by, so one
    that shares only a wide label inhibits nothing.
    """
    return [
        {
            "source_matchers": [f'{INHIBITS_LABEL}="{name}"'],
            "target_matchers": [f'{INHIBITS_LABEL}=""', f'{name}!=""'],
            "equal": [name],
        }
        for name in by
    ]
