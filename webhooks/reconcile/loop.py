"""What the neighbours know against what we believe: ends never told, false ends, alerts missed while down.

Alertmanager's list and Prometheus' own series decide (`differences`, `evaluated`); the
differences go to the intake as a delivery, so that they become durable by the same way as all else.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any, Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge

from sidecar.background import Background, woken
from sidecar.errors import PullError, StoreError
from sidecar.records import Delivery, Episode
from sidecar.telemetry import get_logger
from webhooks.intake.payload import parse_time
from webhooks.own import inner_delivery
from webhooks.reconcile.alerts_series import AlertsSeries, ProvenEnds
from webhooks.reconcile.differences import LEARN_AFTER_NS, Differences, Held, Sought, compare, read
from webhooks.reconcile.evaluated import Evaluated, Verdict, judge

RECEIVER = "reconcile"
CHANGES = ("learned", "settled", "refused", "ended")

PAUSE_SECONDS = 5.0
"""Between looks, however often one is wished for."""
LOOKING_SHARE = 0.05
"""Of the time at most: the list of an Alertmanager in a storm is long."""


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


@dataclass
class _Lists:
    """What the Alertmanagers answered."""

    held: list[Held] = field(default_factory=list)
    n_answered: int = 0
    up_since_ns: int | None = 0
    """Since when all of them are up; None where one did not answer or does not say."""
    trouble: PullError | None = None
    are_all: bool = True
    """Whether nobody else sends to us."""


@dataclass
class _Remembered:
    """What is remembered of one tenant's alerts from look to look."""

    ends: ProvenEnds | None
    absent: dict[Sought, int] = field(default_factory=dict)
    seen_there: set[str] = field(default_factory=set)


class Reconciler:
    """Asks the neighbours on schedule and when `wake` is set, and says to the intake what it was not told.

    `series`: Prometheus' own; None where there is none to ask. `known`: by tenant, the newest episode
    by fingerprint. `senders`: by tenant, the receivers that send us its alerts; and all URLs that
    sent. `cut_at_ns`: when a delivery last left alerts of a tenant out.
    """

    def __init__(
        self,
        clients: Sequence[Client],
        *,
        series: AlertsSeries | None = None,
        known: Callable[[], Mapping[str, Mapping[str, Episode]]],
        accept: Callable[[Delivery], Awaitable[None]],
        senders: Callable[[], Awaitable[tuple[Mapping[str, set[str]], set[str]]]],
        cut_at_ns: Callable[[str], int] = lambda _: 0,
        wake: asyncio.Event | None = None,
        metrics: ReconcileMetrics,
        interval_seconds: float = 60.0,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._clients = clients
        self._series = series
        self._known = known
        self._accept = accept
        self._senders = senders
        self._cut_at_ns = cut_at_ns
        self._wake = wake or asyncio.Event()
        self._metrics = metrics
        self._interval = interval_seconds
        self._now = now
        self._remembered: dict[str, _Remembered] = {}
        self._task = Background("reconcile")
        self._log = get_logger("reconcile")
        self.last_error: str | None = None

    def start(self) -> None:
        """Begin to ask, where there is anybody to ask."""
        if (self._clients or self._series is not None) and self._interval > 0:
            self._task.start(self._run())

    async def stop(self) -> None:
        """End."""
        await self._task.stop()

    async def _run(self) -> None:
        async with AsyncExitStack() as stack:
            for client in self._clients:
                await stack.enter_async_context(client)
            while True:
                began = time.monotonic()
                await self._look_once()
                took = time.monotonic() - began
                await asyncio.sleep(min(max(PAUSE_SECONDS, took / LOOKING_SHARE), self._interval))
                await woken(self._wake, max(self._interval - (time.monotonic() - began), 0.0))

    async def _look_once(self) -> None:
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

    async def look(self) -> Mapping[str, Differences]:
        """Compare once, and have the differences stored, by tenant.

        In threads: with a hundred thousand alerts that is a second, which requests must not wait for.

        Raises: StoreError where they are not; PullError where nobody answered.
        """
        lists = await self._ask_alertmanagers()
        try:
            evaluated = await self._series.look() if self._series is not None else None
        except PullError as error:
            lists.trouble, evaluated = error, None
        if lists.trouble is not None and not lists.n_answered and evaluated is None:
            raise lists.trouble
        receivers, urls = await self._senders()
        # What others than these have sent is not theirs to end.
        lists.are_all = len(urls) <= len(self._clients)
        everything = self._known()
        found: dict[str, Differences] = {}
        for tenant in sorted(everything.keys() | receivers.keys()):
            known, ours = everything.get(tenant, {}), frozenset(receivers.get(tenant, ()))
            found[tenant] = await self._look_at(tenant, known, ours, lists, evaluated)
            await self._tell(tenant, found[tenant])
        return found

    async def _look_at(
        self,
        tenant: str,
        known: Mapping[str, Episode],
        ours: frozenset[str],
        lists: _Lists,
        evaluated: Evaluated | None,
    ) -> Differences:
        now_ns = int(self._now() * 1e9)
        before = self._remembered.get(tenant)
        if before is None:
            ends = ProvenEnds(self._series) if self._series is not None else None
            before = self._remembered[tenant] = _Remembered(ends)
        verdict = Verdict()
        if evaluated is not None:
            verdict = await asyncio.to_thread(judge, evaluated, list(known.values()), now_ns=now_ns)
        found = Differences()
        if lists.n_answered:
            held = {one.event.fingerprint for one in lists.held}
            before.seen_there = (before.seen_there | held) & (known.keys() | held)
            found = await asyncio.to_thread(
                compare,
                lists.held,
                known,
                now_ns=now_ns,
                ours=ours,
                up_since_ns=lists.up_since_ns,
                absent_before=before.absent,
                seen_there=known.keys() if lists.are_all else before.seen_there,
                still_firing=verdict.still_firing,
                cut=now_ns - self._cut_at_ns(tenant) < LEARN_AFTER_NS,
            )
            before.absent = found.absent
        if evaluated is not None and before.ends is not None:
            await self._add_proofs(found, verdict, evaluated, lists, before.ends)
        return found

    async def _ask_alertmanagers(self) -> _Lists:
        lists = _Lists()
        for client in self._clients:
            try:
                lists.held += await asyncio.to_thread(read, await client.alerts())
                began = parse_time(str((await client.status()).get("uptime", "")))
            except PullError as error:
                lists.trouble, lists.up_since_ns = error, None
                continue
            except ValueError:
                began = None
            lists.n_answered += 1
            known = began is not None and lists.up_since_ns is not None
            lists.up_since_ns = max(lists.up_since_ns or 0, began or 0) if known else None
        return lists

    async def _add_proofs(
        self, found: Differences, verdict: Verdict, evaluated: Evaluated, lists: _Lists, ends: ProvenEnds
    ) -> None:
        found.refused += verdict.refused
        settled = {event.fingerprint for event in found.settled}
        found.settled += [event for event in verdict.settled if event.fingerprint not in settled]
        # What Alertmanager holds or has just ended, it tells of itself.
        told = {one.event.fingerprint for one in lists.held} | {event.fingerprint for event in found.ended}
        gone = {series: one for series, one in verdict.gone.items() if one.fingerprint not in told}
        try:
            found.ended += await ends.among(gone, evaluated)
        except PullError as error:
            self._log.debug("ends not proven", err=str(error))

    async def _tell(self, tenant: str, found: Differences) -> None:
        at_ns = int(self._now() * 1e9)
        for events, authority in (
            ([*found.learned, *found.settled, *found.ended], "inferred"),
            (found.refused, "proven"),
        ):
            if events:
                told = inner_delivery(
                    events, receiver=RECEIVER, received_at_ns=at_ns, tenant=tenant, authority=authority
                )
                await self._accept(told)
        numbers = {change: len(getattr(found, change)) for change in CHANGES}
        for change, n in numbers.items():
            self._metrics.changes.labels(change).inc(n)
        if any(numbers.values()):
            self._log.info("reconciled", tenant=tenant, **{f"n_{change}": n for change, n in numbers.items()})


class ReconcileMetrics:
    """What reconciling tells of itself."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.looks = Counter(
            "pronoia_reconcile_looks_total",
            "Comparisons with Alertmanager and Prometheus, by outcome.",
            ["result"],
            registry=registry,
        )
        self.changes = Counter(
            "pronoia_reconciled_alerts_total",
            "Alerts corrected by comparing: learned (missed), settled (was unknown), refused (said to have "
            "ended, fires on), ended (end never told), past (came and went while pronoia was down).",
            ["change"],
            registry=registry,
        )
        self.last = Gauge(
            "pronoia_reconcile_last_success_timestamp_seconds",
            "Time of the last comparison with Alertmanager and Prometheus.",
            registry=registry,
        )
        for result in ("ok", "error"):
            self.looks.labels(result)
        for change in (*CHANGES, "past"):
            self.changes.labels(change)
