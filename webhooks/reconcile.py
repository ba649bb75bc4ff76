"""What Alertmanager holds against what we believe: ends that were never told, alerts missed while down.

`compare` decides, purely; `Reconciler` asks and hands the differences to the
intake as a delivery, so that they become durable by the same way as all else.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any, Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge

from sidecar.background import Background
from sidecar.errors import PullError, StoreError
from sidecar.records import AlertEvent, Delivery, Episode
from sidecar.telemetry import get_logger
from webhooks.own import INCIDENT_LABEL, inner_delivery
from webhooks.payload import parse_time

SECOND_NS = 1_000_000_000
LEARN_AFTER_NS = 300 * SECOND_NS
"""An alert that fires for less may still wait in its group; Alertmanager will tell of it."""

SETTLED_NS = 5 * SECOND_NS
"""An alert heard of just now is not missed because a list of a moment ago lacks it."""

YOUNG_NS = 300 * SECOND_NS
"""An Alertmanager younger than this may not have been told again of what fired before it started."""

ABSENT_LOOKS = 2
RECEIVER = "reconcile"


class Client(Protocol):
    """What is asked of an Alertmanager."""

    async def __aenter__(self) -> Any: ...
    async def __aexit__(self, *error: Any) -> None: ...
    async def status(self) -> dict[str, Any]:
        """Version, start time, configuration."""
        ...

    async def alerts(self) -> list[dict[str, Any]]:
        """Every alert it holds, muted ones included."""
        ...


@dataclass(frozen=True, slots=True)
class Held:
    """One alert as an Alertmanager holds it."""

    event: AlertEvent
    suppressed: bool
    receivers: frozenset[str]


@dataclass
class Differences:
    """What must change for us to believe what Alertmanager does."""

    learned: list[AlertEvent] = field(default_factory=list)
    settled: list[AlertEvent] = field(default_factory=list)
    ended: list[AlertEvent] = field(default_factory=list)
    absent: dict[tuple[str, int], int] = field(default_factory=dict)


def read(alerts: Iterable[Mapping[str, Any]]) -> list[Held]:
    """Alerts of `/api/v2/alerts`; what cannot be read is passed over."""
    held = []
    for alert in alerts:
        try:
            starts_at_ns = parse_time(str(alert["startsAt"]))
            labels = {str(k): str(v) for k, v in alert["labels"].items()}
            if starts_at_ns is None or not labels or INCIDENT_LABEL in labels:
                continue
            event = AlertEvent(
                fingerprint=str(alert["fingerprint"]),
                firing=True,
                labels=labels,
                annotations={str(k): str(v) for k, v in (alert.get("annotations") or {}).items()},
                starts_at_ns=starts_at_ns,
                ends_at_ns=None,
                generator_url=str(alert.get("generatorURL") or ""),
            )
            state = str((alert.get("status") or {}).get("state", ""))
            receivers = frozenset(str(r.get("name")) for r in alert.get("receivers") or ())
        except (KeyError, TypeError, ValueError, AttributeError):
            continue
        held.append(Held(event, state == "suppressed", receivers))
    return held


def compare(
    held: Iterable[Held],
    known: Mapping[str, Episode],
    *,
    now_ns: int,
    ours: frozenset[str],
    up_since_ns: int | None,
    absent_before: Mapping[tuple[str, int], int],
    seen_there: frozenset[str] | set[str],
) -> Differences:
    """What Alertmanager knows better.

    `held`: the alerts of all Alertmanagers together. `known`: the newest episode by fingerprint.
    `ours`: names of the receivers that send to us; only their alerts are learned. `up_since_ns`:
    since when all Alertmanagers are up; None where one did not answer, and absence says nothing.
    `seen_there`: fingerprints of which these Alertmanagers told; others may have another sender.
    """
    found = Differences()
    firing: dict[str, Held] = {}
    for one in held:
        other = firing.get(one.event.fingerprint)
        if other is None or one.event.starts_at_ns > other.event.starts_at_ns:
            firing[one.event.fingerprint] = one
    for fingerprint, one in firing.items():
        episode = known.get(fingerprint)
        if episode is None or (
            episode.state == "resolved"
            and one.event.starts_at_ns > max(episode.starts_at_ns, episode.ends_at_ns or 0)
        ):
            # A muted one would not have been sent to us either.
            old = now_ns - one.event.starts_at_ns > LEARN_AFTER_NS
            if old and not one.suppressed and one.receivers & ours:
                found.learned.append(one.event)
        elif episode.state == "unknown":
            found.settled.append(one.event)
    if up_since_ns is None:
        return found
    grown = now_ns - up_since_ns >= YOUNG_NS
    for fingerprint, episode in known.items():
        if episode.state == "resolved" or fingerprint in firing or fingerprint not in seen_there:
            continue
        if now_ns - episode.last_seen_ns < SETTLED_NS:
            continue
        if not grown and episode.last_seen_ns < up_since_ns:
            continue
        looks = absent_before.get((fingerprint, episode.starts_at_ns), 0) + 1
        if looks < ABSENT_LOOKS:
            found.absent[fingerprint, episode.starts_at_ns] = looks
            continue
        found.ended.append(
            AlertEvent(
                fingerprint=fingerprint,
                firing=False,
                labels=episode.labels,
                annotations=episode.annotations,
                starts_at_ns=episode.starts_at_ns,
                ends_at_ns=now_ns,
                generator_url=episode.generator_url,
            )
        )
    return found


class Reconciler:
    """Asks the Alertmanagers on schedule, and says to the intake what it should have been told."""

    def __init__(
        self,
        clients: Sequence[Client],
        *,
        known: Callable[[], Mapping[str, Episode]],
        accept: Callable[[Delivery], Awaitable[None]],
        senders: Callable[[], Awaitable[tuple[set[str], set[str]]]],
        metrics: ReconcileMetrics,
        interval_seconds: float = 60.0,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._clients = clients
        self._known = known
        self._accept = accept
        self._senders = senders
        self._metrics = metrics
        self._interval = interval_seconds
        self._now = now
        self._absent: dict[tuple[str, int], int] = {}
        self._seen_there: set[str] = set()
        self._task = Background("reconcile")
        self._log = get_logger("reconcile")
        self.last_error: str | None = None

    def start(self) -> None:
        """Begin to ask, where there is anybody to ask."""
        if self._clients and self._interval > 0:
            self._task.start(self._run())

    async def stop(self) -> None:
        """End."""
        await self._task.stop()

    async def _run(self) -> None:
        async with AsyncExitStack() as stack:
            for client in self._clients:
                await stack.enter_async_context(client)
            while True:
                try:
                    await self.look()
                except (PullError, StoreError) as error:
                    if self.last_error is None:
                        self._log.warning("not reconciled, will try again", err=str(error))
                    self.last_error = str(error)
                    self._metrics.looks.labels("error").inc()
                except Exception as error:
                    # The loop's edge: what an odd answer does here must not end the asking.
                    self.last_error = repr(error)
                    self._metrics.looks.labels("error").inc()
                    self._log.exception("reconciling broke off")
                else:
                    self.last_error = None
                    self._metrics.looks.labels("ok").inc()
                    self._metrics.last.set(self._now())
                await asyncio.sleep(self._interval)

    async def look(self) -> Differences:
        """Compare once, and have the differences stored.

        Raises: StoreError where they are not; PullError where no Alertmanager answered.
        """
        held: list[Held] = []
        answered = 0
        up_since_ns: int | None = 0
        trouble: PullError | None = None
        for client in self._clients:
            try:
                held += read(await client.alerts())
                began = parse_time(str((await client.status()).get("uptime", "")))
            except PullError as error:
                trouble, up_since_ns = error, None
                continue
            except ValueError:
                began = None
            answered += 1
            up_since_ns = None if began is None or up_since_ns is None else max(up_since_ns, began)
        if trouble is not None and not answered:
            raise trouble
        # What others than these have sent is not theirs to end.
        receivers, urls = await self._senders()
        only_these = len(urls) <= len(self._clients)
        known = self._known()
        self._seen_there |= {one.event.fingerprint for one in held}
        self._seen_there &= known.keys() | {one.event.fingerprint for one in held}
        found = compare(
            held,
            known,
            now_ns=int(self._now() * 1e9),
            ours=frozenset(receivers),
            up_since_ns=up_since_ns,
            absent_before=self._absent,
            seen_there=set(known) if only_these else self._seen_there,
        )
        self._absent = found.absent
        events = [*found.learned, *found.settled, *found.ended]
        if events:
            at_ns = int(self._now() * 1e9)
            await self._accept(inner_delivery(events, receiver=RECEIVER, received_at_ns=at_ns))
            for change in ("learned", "settled", "ended"):
                self._metrics.changes.labels(change).inc(len(getattr(found, change)))
            self._log.info(
                "reconciled with alertmanager",
                n_learned=len(found.learned),
                n_settled=len(found.settled),
                n_ended=len(found.ended),
            )
        return found


class ReconcileMetrics:
    """What reconciling tells of itself."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.looks = Counter(
            "pronoia_reconcile_looks_total",
            "Comparisons with Alertmanager, by outcome.",
            ["result"],
            registry=registry,
        )
        self.changes = Counter(
            "pronoia_reconciled_alerts_total",
            "Alerts corrected by comparing: learned (missed), settled (was unknown), ended (end never told).",
            ["change"],
            registry=registry,
        )
        self.last = Gauge(
            "pronoia_reconcile_last_success_timestamp_seconds",
            "Time of the last comparison with Alertmanager.",
            registry=registry,
        )
        for result in ("ok", "error"):
            self.looks.labels(result)
        for change in ("learned", "settled", "ended"):
            self.changes.labels(change)
