"""The alerts loop: durable episodes become incidents with a probable cause, and are told of.

It works from what is stored, after the sender has had its answer; when it
fails, intake goes on, and what it missed is taken up again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from sidecar.config.model import NotifyConfig
from sidecar.config.webhook import WebhookConfig
from sidecar.errors import StoreError
from sidecar.events import Event, EventBus
from sidecar.ports import AlertStore
from sidecar.records import DEFAULT_TENANT, Episode, Incident
from sidecar.telemetry import get_logger
from webhooks.analyst import Analyst
from webhooks.bonds import Weights
from webhooks.correlate import Correlator
from webhooks.fold import Memory
from webhooks.group import Group
from webhooks.heartbeat import Heartbeats
from webhooks.incident import bind, describe, merged
from webhooks.intake import Intake
from webhooks.notify.notifier import Notifier, NotifyMetrics, OutboxStore
from webhooks.own import is_own
from webhooks.sighting import Key
from webhooks.topology import Topology, TopologyError, load

REMEMBER_RESOLVED_NS = 24 * 3600 * 1_000_000_000
UNKNOWN_AFTER_NS = 12 * 3600 * 1_000_000_000
"""Three times Alertmanager's default repeat_interval: what was not repeated for so long may be over."""

RETRY_SECONDS = 5.0
EPISODES_PER_PASS = 250
JUDGING_SECONDS = 0.02
"""So long a pass judges incidents that are stored already; the rest waits for the next pass."""
IDLE_SHARE = 8.0
"""After a pass the loop rests eight times as long as it worked: in a storm, intake comes first."""
SWEEP_SECONDS = 60.0
BIG, BIG_SECONDS = 100, 2.0
"""An incident of a storm is judged anew so often, however fast it grows."""


class LoopStore(AlertStore, OutboxStore, Protocol):
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
        notify: NotifyConfig | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._bus = bus
        self._now = now
        self._config = config
        self._analyst = Analyst(correlator=Correlator())
        self._known: dict[str, Incident] = {}
        self._pending: dict[Key, Episode] = {}
        self._unsaved: set[str] = set()
        self._unsaved_members: dict[Key, Episode] = {}
        self._unsaved_merged: dict[str, Incident] = {}
        self._listening_since_ns = 0
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._log = get_logger("alerts-loop")
        self._open = Gauge("pronoia_incidents_open", "Incidents that are open now.", registry=registry)
        self._merges = Counter(
            "pronoia_incident_merges_total", "Incidents that went into another.", registry=registry
        )
        self._by_priority = Counter(
            "pronoia_incidents_total", "Incidents opened, by first priority.", ["priority"], registry=registry
        )
        for priority in ("P0", "P1", "P2", "P3", "P4"):
            self._by_priority.labels(priority)
        self._correlation = Histogram(
            "pronoia_correlation_duration_seconds",
            "Passes of the alerts loop, from pending alerts to stored incidents.",
            registry=registry,
            buckets=(0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3),
        )
        self._failures = Counter(
            "pronoia_alerts_loop_failures_total",
            "Times that incidents could not be stored and were kept for later.",
            registry=registry,
        )
        self._notifier = Notifier(
            store,
            notify or NotifyConfig(),
            hold_seconds=config.incident_hold,
            metrics=NotifyMetrics(registry),
            now=now,
        )
        self.last_error: str | None = None
        self.heartbeats = Heartbeats(
            config.heartbeat.alertnames,
            timeout_seconds=config.heartbeat.timeout,
            time_annotation=config.heartbeat.time_annotation,
        )
        self.intake = Intake(
            store,
            memory=Memory(),
            max_waiting=config.queue_deliveries,
            registry=registry,
            on_committed=self._committed,
            on_delivered=self.heartbeats.hear,
        )

    async def open(self) -> None:
        """Remember what the store holds, then begin.

        Raises: StoreError.
        """
        now = self._now()
        self._listening_since_ns = int(now * 1e9)
        config = self._config
        topology = await asyncio.to_thread(_topology, config.topology_file, self._log)
        weights = Weights(hold_seconds=config.incident_hold, reach_seconds=config.incident_gap)
        self._analyst = Analyst(topology, identity=config.identity_labels, weights=weights)
        episodes = await self._store.recent_episodes(self._listening_since_ns - REMEMBER_RESOLVED_NS)
        self.intake.memory.recall(episodes)
        held = {episode.key: episode for episode in self.intake.memory.episodes.values()}
        by_incident: dict[str, list[Episode]] = {}
        for episode in episodes:
            if episode.incident_id is not None:
                by_incident.setdefault(episode.incident_id, []).append(held.get(episode.key, episode))
        correlator = self._analyst.correlator
        for incident in reversed(await self._store.incidents(state="open", limit=10_000)):
            self._known[incident.incident_id] = incident
        for incident_id, members in by_incident.items():
            correlator.recall(incident_id, [self._analyst.sight(episode) for episode in members], now=now)
        for group in correlator.groups.values():
            self._analyst.learn(group)
        correlator.advance(now)
        # What was committed and not yet correlated when the process died.
        lost = [e for e in episodes if e.incident_id is None]
        self._pending.update((episode.key, episode) for episode in lost)
        self._wake.set()
        await self._notifier.open(self._known.values())
        self.intake.start()
        self._task = asyncio.create_task(self._run(), name="alerts-loop")

    def newest(self) -> dict[str, Episode]:
        """The newest episode of every fingerprint of the default tenant, less those that we raised."""
        episodes = self.intake.memory.episodes
        return {
            fp: episode
            for (tenant, fp), episode in episodes.items()
            if tenant == DEFAULT_TENANT and not is_own(episode.labels)
        }

    async def stop(self) -> None:
        """Commit what waits, correlate it, end."""
        await self.intake.stop()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        try:
            while self._pending or self._unsaved:
                await self._work(final=True)
        except StoreError as error:
            self._log.warning("incidents not stored, they will be made again at start", err=str(error))
        await self._notifier.stop()

    def _committed(self, episodes: Sequence[Episode]) -> None:
        self._pending.update((episode.key, episode) for episode in episodes)
        self._bus.publish(Event("alerts.received", self._now(), {"n_alerts": len(episodes)}))
        self._wake.set()

    async def _run(self) -> None:
        swept = time.monotonic()
        while True:
            try:
                async with asyncio.timeout(self._patience()):
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

    def _patience(self) -> float:
        """Seconds until there is something to do though nothing arrives."""
        due = self._analyst.correlator.next_due()
        patience = 0.25 if self._unsaved else SWEEP_SECONDS
        return patience if due is None else min(max(due - self._now(), 0.01), patience)

    def _last_described(self, incident_id: str) -> tuple[int, str]:
        """The new come first, then whoever has waited longest."""
        known = self._known.get(incident_id)
        return (known.last_change_ns if known else 0, incident_id)

    def _soon_enough(self, group: Group) -> bool:
        """Whether a big incident that grows on was described a moment ago; then once more is no news."""
        known = self._known.get(group.incident_id)
        if known is None or len(group.members) < BIG or not group.firing:
            return False
        return self._now() - known.last_change_ns / 1e9 < BIG_SECONDS

    async def _work(self, *, final: bool = False) -> None:
        """Correlate what is pending, store what changed, tell of it."""
        began = time.perf_counter()
        self._correlate()
        if not self._unsaved and not self._unsaved_merged:
            return
        now_ns = int(self._now() * 1e9)
        correlator = self._analyst.correlator
        usual = self._analyst.usual()
        incidents = []
        put_off: set[str] = set()
        for incident_id in sorted(self._unsaved, key=self._last_described):
            group = correlator.groups.get(incident_id)
            if group is None:
                continue
            busy = time.perf_counter() - began > JUDGING_SECONDS and incident_id in self._known
            if not final and (busy or self._soon_enough(group)):
                put_off.add(incident_id)
                continue
            verdict = self._analyst.consider(group, now=now_ns / 1e9, usual=usual)
            incidents.append(
                describe(
                    group, verdict, now_ns=now_ns, noise_may_silence=self._config.noise_may_silence_pages
                )
            )
        gone = list(self._unsaved_merged.values())
        # What is not stored stays in `_unsaved…`, so that a later pass writes membership with its incident.
        await self._store.put_incidents([*incidents, *gone], list(self._unsaved_members.values()))
        self._unsaved = put_off
        self._unsaved_members.clear()
        self._unsaved_merged.clear()
        self._notifier.consider([*gone, *incidents])
        for incident in gone:
            self._tell("incident.merged", incident)
        for incident in incidents:
            before = self._known.get(incident.incident_id)
            self._known[incident.incident_id] = incident
            if before is None:
                self._by_priority.labels(incident.priority).inc()
            if before is None or before != incident:
                self._tell("incident.opened" if before is None else "incident.updated", incident)
            if incident.state == "resolved" and (before is None or before.state == "open"):
                self._tell("incident.resolved", incident)
        self._open.set(sum(incident.state == "open" for incident in self._known.values()))
        self._correlation.observe(time.perf_counter() - began)

    def _correlate(self) -> None:
        """Give what is pending its incidents, and merge what belongs together."""
        now = self._now()
        correlator = self._analyst.correlator
        # Taken in the order of their commits; all that wait are never sorted, a storm leaves too many.
        pending = sorted(
            islice(self._pending.values(), EPISODES_PER_PASS), key=lambda e: (e.first_seen_ns, e.starts_at_ns)
        )
        for episode in pending:
            del self._pending[episode.key]
            home = correlator.home.get(episode.key)
            if home is None:
                group = correlator.add(self._analyst.sight(episode), now=now)
                home = group.incident_id
                bind(episode, home, group.links.get(episode.key))
                self._unsaved_members[episode.key] = episode
            else:
                known = correlator.refresh(episode.key)
                if known is not None and episode.state == "resolved":
                    self._analyst.learn(known, (episode.key,))
                if episode.state == "unknown":
                    self._unsaved_members[episode.key] = episode
            self._unsaved.add(home)
        for merge in correlator.advance(now):
            self._merges.inc()
            into = correlator.groups.get(merge.into)
            for key in merge.moved if into else ():
                seen = into.members[key] if into else None
                if seen is not None:
                    bind(seen.episode, merge.into, into.links.get(key) if into else None)
                    self._unsaved_members[key] = seen.episode
            self._unsaved.discard(merge.gone)
            self._unsaved.add(merge.into)
            # One that was told of leaves a record; one that was not never was.
            before = self._known.pop(merge.gone, None)
            if before is not None:
                self._unsaved_merged[merge.gone] = merged(before, merge.into, now_ns=int(now * 1e9))

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
            "priority": incident.priority,
            "category": incident.category,
            "noise": incident.noise,
            "merged_into": incident.merged_into,
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
        for incident_id, group in list(self._analyst.correlator.groups.items()):
            ended = group.ended()
            if ended is not None and ended * 1e9 < now_ns - REMEMBER_RESOLVED_NS:
                self._analyst.correlator.forget(incident_id)
                self._known.pop(incident_id, None)


def _topology(path: Path | None, log: Any) -> Topology | None:
    """The graph of a file; one that cannot be read is said so, and does without."""
    if path is None:
        return None
    try:
        return load(path)
    except TopologyError as error:
        log.error("the topology is not used; correlating without it", err=str(error))
        return None
