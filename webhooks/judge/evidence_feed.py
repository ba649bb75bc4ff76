"""Carries evidence to the alerts loop: anomalies from the bus, changes, call graphs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

import msgspec
from aiohttp import web

from sidecar.config.webhook import WebhookAuth
from sidecar.errors import PullError, StoreError
from sidecar.events import EventBus
from sidecar.records import Feedback
from sidecar.series import LabelSet, SeriesBatch
from sidecar.telemetry import get_logger
from webhooks.intake.gate import allowed
from webhooks.intake.packing import TooLarge, body_of
from webhooks.intake.payload import UNREADABLE, parse_time
from webhooks.judge.analyst import Analyst
from webhooks.judge.evidence import KEPT_SECONDS, Anomaly, Change
from webhooks.notes import NoteStore

CHANGES_PATH = "/api/v1/changes"
MAX_BODY = 256 * 1024
NOTE = "changes"

AHEAD_SECONDS = 300.0  # Clocks differ by so much.

WORKLOADS = ("deployment", "statefulset", "daemonset")
CHANGED_SECONDS = 120.0
_GENERATION = f'{{__name__=~"kube_({"|".join(WORKLOADS)})_metadata_generation"}}'
GENERATIONS = f"changes({_GENERATION}[{CHANGED_SECONDS:.0f}s]) > 0"
"""A workload's generation grows with each change of what it should be: image, settings, replicas."""

CALLS = (
    "sum by (client, server, connection_type) (rate(traces_service_graph_request_total[30m])) > 0",
    "sum by (source_workload, destination_workload) "
    '(rate(istio_requests_total{reporter="destination"}[30m])) > 0',
)
MAX_SERIES = 20_000
GRAPH_EVERY = 5
"""The call graph is read at every fifth look."""

Instant = Callable[..., Awaitable[SeriesBatch]]


class _Told(msgspec.Struct):
    """One change as it is posted."""

    services: list[str]
    kind: str = "deploy"
    text: str = ""
    at: str = ""


class EvidenceFeed:
    """Reads what is told and what Prometheus shows, and gives it to the analyst."""

    def __init__(
        self,
        analyst: Callable[[], Analyst],
        *,
        instant: Instant,
        feedback: Callable[[], Awaitable[Iterable[Feedback]]] | None = None,
        notes: NoteStore | None = None,
        bus: EventBus,
        look_seconds: float = 60.0,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._analyst = analyst
        self._instant = instant
        self._feedback = feedback
        self._notes = notes
        self._bus = bus
        self._look_seconds = look_seconds
        self._now = now
        self._tasks: list[asyncio.Task[None]] = []
        self._log = get_logger("evidence")

    def start(self) -> None:
        """Begin to read."""
        self._tasks = [
            asyncio.create_task(self._listen(), name="evidence-bus"),
            asyncio.create_task(self._look_for_ever(), name="evidence-prometheus"),
        ]

    async def stop(self) -> None:
        """End."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _listen(self) -> None:
        with self._bus.subscribe() as events:
            async for event in events:
                if event.kind == "anomaly.started":
                    try:
                        self.take_anomaly(event.facts)
                    except Exception:
                        # The loop's edge: one odd anomaly must not end the listening.
                        self._log.exception("an anomaly could not be taken")

    def take_anomaly(self, facts: Mapping[str, Any]) -> None:
        """Take an anomaly's facts as the metrics loop publishes them."""
        analyst = self._analyst()
        entity = analyst.reader.read(facts["labels"], {}).entity
        anomaly = Anomaly(facts["timestamp_ms"] / 1000.0, float(facts["score"] or 1.0), facts["query"])
        analyst.evidence.add_anomaly(entity, anomaly)

    async def _look_for_ever(self) -> None:
        recalled = False
        for n_looks in range(1_000_000_000):
            try:
                if not recalled:
                    await self.recall()
                    recalled = True
                await self.read_verdicts()
                await self.read_changes()
                if n_looks % GRAPH_EVERY == 0:
                    await self.read_graph()
            except (PullError, StoreError) as error:
                self._log.debug("no evidence for now", err=str(error))
            except Exception:
                # The loop's edge: an odd series must not end the reading.
                self._log.exception("reading evidence broke off")
            self._analyst().evidence.forget(self._now() - KEPT_SECONDS)
            await asyncio.sleep(self._look_seconds)

    async def recall(self) -> None:
        """Take in changes of before a restart.

        Raises: StoreError.
        """
        body = await self._notes.note(NOTE) if self._notes is not None else None
        if body:
            self._analyst().evidence.recall(msgspec.json.decode(body, type=list[tuple[str, float, str, str]]))

    async def read_verdicts(self) -> None:
        """Heed what people said of rules.

        Raises: StoreError.
        """
        if self._feedback is not None:
            self._analyst().correlator.bonds.verdicts.heed(await self._feedback())

    async def read_changes(self) -> None:
        """Take workloads whose generation grew lately.

        Raises: PullError.
        """
        now = self._now()
        batch = await self._ask(GENERATIONS, now)
        analyst = self._analyst()
        for labels in batch.labels:
            known = {name: labels[name] for name in (*WORKLOADS, "namespace") if name in labels}
            if not set(WORKLOADS) & known.keys():
                continue
            entity = analyst.reader.read(known, {}).entity
            if analyst.evidence.change_since(entity, now - 2.0 * CHANGED_SECONDS) is None:
                kind = next(name for name in WORKLOADS if name in known)
                change = Change(now - CHANGED_SECONDS / 2.0, "rollout", f"its {kind} was changed")
                analyst.evidence.add_change([entity], change)

    async def read_graph(self) -> None:
        """Take who calls whom from service-graph metrics of traces and of Istio.

        Raises: PullError.
        """
        calls: dict[str, set[str]] = {}
        stores: set[str] = set()
        for expr in CALLS:
            batch = await self._ask(expr, self._now())
            for labels in batch.labels:
                caller, callee = edge_of(labels)
                if caller and callee and caller != callee:
                    calls.setdefault(caller, set()).add(callee)
                    if labels.get("connection_type") == "database":
                        stores.add(callee)
        if calls and self._analyst().reader.take_calls(calls, stores):
            self._log.info("call graph read", n_callers=len(calls))

    async def _ask(self, expr: str, now: float) -> SeriesBatch:
        return await self._instant(expr, at_ms=int(now * 1000), name="evidence", max_series=MAX_SERIES)


def edge_of(labels: LabelSet) -> tuple[str, str]:
    """Caller and callee of a service-graph series; "unknown" is nobody."""
    caller = labels.get("client") or labels.get("source_workload") or ""
    callee = labels.get("server") or labels.get("destination_workload") or ""
    return ("" if caller in ("unknown", "user") else caller), ("" if callee == "unknown" else callee)


class ChangesEndpoint:
    """POST /api/v1/changes: deployments, flags, migrations, told by whoever makes them."""

    def __init__(
        self,
        analyst: Callable[[], Analyst],
        auth: WebhookAuth,
        notes: NoteStore,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._analyst = analyst
        self._auth = auth
        self._notes = notes
        self._now = now

    def add_routes(self, router: web.UrlDispatcher) -> None:
        """Register the endpoint."""
        router.add_post(CHANGES_PATH, self.handle)

    async def handle(self, request: web.Request) -> web.Response:
        """One change, or a list of them; it asks for the same credentials as the webhook."""
        certificate = request.get_extra_info("peercert") if self._auth.client_names else None
        try:
            if not allowed(self._auth, request.headers.get("Authorization", ""), certificate):
                return _answer(401, "wrong or missing credentials", kind="unauthorized")
        except OSError:
            words = "this receiver cannot read its own credentials file"
            return _answer(503, words, kind="unavailable")
        try:
            body = await body_of(request, most_bytes=MAX_BODY)
        except TooLarge:
            return _answer(413, f"body above {MAX_BODY} bytes")
        except ValueError as error:
            return _answer(400, f"body cannot be unpacked: {error}")
        try:
            n_taken = self._take(msgspec.json.decode(body, type=_Told | list[_Told]))
        except (*UNREADABLE, ValueError) as error:
            return _answer(400, " ".join(str(error).split())[:150])
        try:
            await self._notes.put_note(NOTE, msgspec.json.encode(self._analyst().evidence.changes()))
        except StoreError as error:
            return _answer(503, f"not stored: {error}", kind="unavailable")
        return web.Response(
            body=msgspec.json.encode({"status": "success", "data": {"changes": n_taken}}),
            content_type="application/json",
        )

    def _take(self, told: _Told | Iterable[_Told]) -> int:
        analyst = self._analyst()
        changes = [told] if isinstance(told, _Told) else list(told)
        if not all(one.services for one in changes):
            raise ValueError("services is empty; name what was changed, as alerts name it")
        now = self._now()
        times = [now if not one.at else (parse_time(one.at) or 0) / 1e9 for one in changes]
        if max(times, default=now) > now + AHEAD_SECONDS:
            raise ValueError("at is in the future; tell of a change when it is made")
        for one, at in zip(changes, times, strict=True):
            entities = [analyst.reader.read({"service": name}, {}).entity for name in one.services]
            analyst.evidence.add_change(entities, Change(min(at, now), one.kind[:40], one.text[:200]))
        return len(changes)


def _answer(status: int, words: str, *, kind: str = "bad_data") -> web.Response:
    body = msgspec.json.encode({"status": "error", "errorType": kind, "error": words})
    return web.Response(status=status, body=body, content_type="application/json")
