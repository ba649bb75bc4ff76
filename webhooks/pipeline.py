"""The alerts loop: durable episodes become incidents with a probable cause, and are told of.

It works from what is stored, after the sender has had its answer; when it
fails, intake goes on, and what it missed is taken up again.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable, Sequence
from typing import Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge

from sidecar.config.model import WebhookConfig
from sidecar.errors import StoreError
from sidecar.events import Event, EventBus
from sidecar.ports import AlertStore
from sidecar.records import Episode, Incident
from sidecar.telemetry import get_logger
from webhooks.cause import rank
from webhooks.correlate import Features, Group, choose, features
from webhooks.fold import Memory
from webhooks.identity import LabelStatistics
from webhooks.intake import Intake

REMEMBER_RESOLVED_NS = 24 * 3600 * 1_000_000_000
UNKNOWN_AFTER_NS = 12 * 3600 * 1_000_000_000
"""Three times Alertmanager's default repeat_interval: what was not repeated for so long may be over."""

RETRY_SECONDS = 5.0
EPISODES_PER_PASS = 500
IDLE_SHARE = 8.0
"""After a pass the loop rests eight times as long as it worked: in a storm, intake comes first."""
SWEEP_SECONDS = 60.0


class LoopStore(AlertStore, Protocol):
    """What the loop needs beyond intake: what late deliveries may still speak of."""

    async def recent_episodes(self, since_ns: int) -> list[Episode]:
        """Open episodes, and those last seen since then."""
        ...


class AlertsLoop:
    """Intake and everything behind it. `await open()` before the first request."""

    def __init__(
        self,
        store: LoopStore,
        *,
        bus: EventBus,
        config: WebhookConfig,
        registry: CollectorRegistry,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._bus = bus
        self._now = now
        self._gap_ns = int(config.incident_gap * 1e9)
        self._statistics = LabelStatistics()
        self._groups: dict[str, Group] = {}
        self._known: dict[str, Incident] = {}
        self._pending: dict[tuple[str, str, int], Episode] = {}
        self._unsaved: set[str] = set()
        self._unsaved_members: dict[tuple[str, str, int], Episode] = {}
        self._listening_since_ns = 0
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._log = get_logger("alerts-loop")
        self._open = Gauge("pronoia_incidents_open", "Incidents that are open now.", registry=registry)
        self._failures = Counter(
            "pronoia_alerts_loop_failures_total",
            "Times that incidents could not be stored and were kept for later.",
            registry=registry,
        )
        self.last_error: str | None = None
        self.intake = Intake(
            store,
            memory=Memory(),
            max_waiting=config.queue_deliveries,
            registry=registry,
            on_committed=self._committed,
        )

    async def open(self) -> None:
        """Remember what the store holds, then begin.

        Raises: StoreError.
        """
        now_ns = int(self._now() * 1e9)
        self._listening_since_ns = now_ns
        episodes = await self._store.recent_episodes(now_ns - REMEMBER_RESOLVED_NS)
        for episode in episodes:
            self._statistics.learn(episode.labels)
        self.intake.memory.recall(episodes)
        for incident in await self._store.incidents(state="open", limit=10_000):
            found = await self._store.incident(incident.incident_id)
            group = Group(incident.incident_id, incident.tenant)
            for member in found[1] if found else ():
                held = self.intake.memory.episodes.get((member.tenant, member.fingerprint))
                same = held is not None and held.key == member.key
                group.add(self._features(held if held is not None and same else member))
            self._groups[incident.incident_id] = group
            self._known[incident.incident_id] = incident
        # What was committed and not yet correlated when the process died.
        lost = [e for e in episodes if e.incident_id is None]
        self._pending.update((episode.key, episode) for episode in lost)
        self._wake.set()
        self.intake.start()
        self._task = asyncio.create_task(self._run(), name="alerts-loop")

    async def stop(self) -> None:
        """Commit what waits, correlate it, end."""
        await self.intake.stop()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        try:
            while self._pending or self._unsaved:
                await self._work()
        except StoreError as error:
            self._log.warning("incidents not stored, they will be made again at start", err=str(error))

    def _committed(self, episodes: Sequence[Episode]) -> None:
        self._pending.update((episode.key, episode) for episode in episodes)
        self._bus.publish(Event("alerts.received", self._now(), {"n_alerts": len(episodes)}))
        self._wake.set()

    async def _run(self) -> None:
        swept = time.monotonic()
        while True:
            try:
                async with asyncio.timeout(SWEEP_SECONDS):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()
            began = time.monotonic()
            try:
                if time.monotonic() - swept >= SWEEP_SECONDS:
                    swept = time.monotonic()
                    self._sweep()
                await self._work()
                self.last_error = None
                await asyncio.sleep(IDLE_SHARE * (time.monotonic() - began))
                if self._pending:
                    self._wake.set()
            except StoreError as error:
                self._failures.inc()
                if self.last_error is None:
                    self._log.warning("incidents not stored, will try again", err=str(error))
                self.last_error = str(error)
                await asyncio.sleep(RETRY_SECONDS)
                self._wake.set()
            except Exception as error:
                # The loop's edge: intake must go on whatever a strange alert does here.
                self._failures.inc()
                self.last_error = repr(error)
                self._log.exception("correlation broke off")

    async def _work(self) -> None:
        """Correlate what is pending, store what changed, tell of it."""
        pending = sorted(self._pending.values(), key=lambda e: (e.first_seen_ns, e.starts_at_ns))
        pending = pending[:EPISODES_PER_PASS]
        for episode in pending:
            del self._pending[episode.key]
        told: dict[str, str] = {}
        for episode in pending:
            group = self._groups.get(episode.incident_id or "")
            if group is None:
                self._statistics.learn(episode.labels)
            seen = self._features(episode)
            if group is None:
                group = choose(seen, self._groups.values(), gap_ns=self._gap_ns)
                if group is None:
                    group = Group(_new_id(), episode.tenant)
                    self._groups[group.incident_id] = group
                    told[group.incident_id] = "incident.opened"
                episode.incident_id = group.incident_id
                self._unsaved_members[episode.key] = episode
            elif episode.state == "unknown":
                self._unsaved_members[episode.key] = episode
            group.add(seen)
            self._unsaved.add(group.incident_id)
        if not self._unsaved:
            return
        incidents = [self._describe(self._groups[incident_id]) for incident_id in sorted(self._unsaved)]
        # What is not stored stays in `_unsaved…`, so that a later pass writes membership with its incident.
        await self._store.put_incidents(incidents, list(self._unsaved_members.values()))
        self._unsaved.clear()
        self._unsaved_members.clear()
        for incident in incidents:
            before = self._known.get(incident.incident_id)
            self._known[incident.incident_id] = incident
            kind = told.get(incident.incident_id, "incident.updated")
            if before is None:
                kind = "incident.opened"
            if kind != "incident.updated" or before != incident:
                self._tell(kind, incident)
            if incident.state == "resolved" and (before is None or before.state == "open"):
                self._tell("incident.resolved", incident)
        self._open.set(sum(incident.state == "open" for incident in self._known.values()))

    def _describe(self, group: Group) -> Incident:
        episodes = group.episodes.values()
        n_firing = sum(episode.state != "resolved" for episode in episodes)
        causes = rank(group.services.values())
        now_ns = int(self._now() * 1e9)
        group.ended_at_ns = None if n_firing else max(episode.ends_at_ns or now_ns for episode in episodes)
        names = sorted(group.names)
        cause = causes[0].service if causes else "unknown"
        title = f"{cause}: {', '.join(names[:3])}" + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        return Incident(
            incident_id=group.incident_id,
            tenant=group.tenant,
            title=title,
            started_at_ns=group.started_at_ns,
            last_change_ns=now_ns,
            ended_at_ns=group.ended_at_ns,
            state="open" if n_firing else "resolved",
            shared_labels=group.shared or {},
            causes=causes[:10],
            n_episodes=len(episodes),
            n_firing=n_firing,
        )

    def _features(self, episode: Episode) -> Features:
        return features(episode, self._statistics)

    def _tell(self, kind: str, incident: Incident) -> None:
        cause = incident.causes[0] if incident.causes else None
        facts = {
            "incident_id": incident.incident_id,
            "title": incident.title,
            "state": incident.state,
            "cause": cause.service if cause else None,
            "reasons": cause.reasons if cause else [],
            "n_episodes": incident.n_episodes,
            "n_firing": incident.n_firing,
        }
        log = self._log.debug if kind == "incident.updated" else self._log.info
        log(kind.replace(".", " "), **facts)
        self._bus.publish(Event(kind, self._now(), facts))

    def _sweep(self) -> None:
        """Forget what is long over; doubt what was not repeated for long."""
        now_ns = int(self._now() * 1e9)
        self.intake.memory.forget_resolved(now_ns - REMEMBER_RESOLVED_NS)
        truncated = self.intake.memory.truncated_at_ns
        for episode in self.intake.memory.episodes.values():
            # Absence counts only while we listened, and while nobody left alerts out.
            heard_ns = max(episode.last_seen_ns, self._listening_since_ns, truncated.get(episode.tenant, 0))
            if episode.state == "firing" and heard_ns < now_ns - UNKNOWN_AFTER_NS:
                # Not resolved: silence is no proof. Reconciling with Alertmanager will tell.
                episode.state = "unknown"
                self._pending[episode.key] = episode
        for incident_id, group in list(self._groups.items()):
            if group.ended_at_ns is not None and group.ended_at_ns < now_ns - REMEMBER_RESOLVED_NS:
                del self._groups[incident_id]
                self._known.pop(incident_id, None)


def _new_id() -> str:
    return f"inc-{uuid.uuid4().hex[:12]}"
