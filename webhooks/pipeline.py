"""The alerts loop: durable episodes become incidents with a probable cause, and are told of.

It works from what is stored, after the sender has had its answer; when it
fails, intake goes on, and what it missed is taken up again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import msgspec
from prometheus_client import CollectorRegistry

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
from webhooks.loop_metrics import LoopMetrics
from webhooks.own import is_own
from webhooks.quality import quality
from webhooks.sighting import Key
from webhooks.storms import Storms
from webhooks.topology import Topology, TopologyError, load

REMEMBER_RESOLVED_NS = 24 * 3600 * 1_000_000_000
UNKNOWN_AFTER_NS = 12 * 3600 * 1_000_000_000
"""Three times Alertmanager's default repeat_interval: what was not repeated for so long may be over."""

RETRY_SECONDS = 5.0
EPISODES_PER_PASS = 250
JUDGING_SECONDS = 0.02
"""So long a pass judges incidents that are stored already; the rest waits for the next pass."""
IDLE_SHARE = 3.0
"""After a pass the loop rests three times as long as it worked: intake comes first."""
NOTE = "usual rates of alerts"
SWEEP_SECONDS = 60.0
BIG, BIG_SECONDS = 100, 2.0
"""An incident of a storm is judged anew so often, however fast it grows."""


class LoopStore(AlertStore, Protocol):
    """What the loop needs beyond intake: what late deliveries may still speak of."""

    async def recent_episodes(self, since_ns: int) -> list[Episode]:
        """Open episodes, and those last seen since then."""
        ...

    async def note(self, name: str) -> bytes | None:
        """What was put under that name."""
        ...

    async def put_note(self, name: str, body: bytes) -> None:
        """Keep it."""
        ...


class Teller(Protocol):
    """Whoever carries incidents to people and tools."""

    async def open(self, incidents: Iterable[Incident]) -> None:
        """Take what is open at start, begin."""
        ...

    def consider(self, incidents: Iterable[Incident]) -> None:
        """Take incidents as they now are."""
        ...

    async def stop(self) -> None:
        """Write what is decided, end."""
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
        teller: Teller | None = None,
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
        self._metrics = LoopMetrics(registry)
        self._teller = teller
        self.last_error: str | None = None
        self.heartbeats = Heartbeats(
            config.heartbeat.alertnames,
            timeout_seconds=config.heartbeat.timeout,
            time_annotation=config.heartbeat.time_annotation,
        )
        memory = Memory()
        self._storms = Storms(memory, at_least=config.storm.alerts_per_minute, factor=config.storm.factor)
        self.intake = Intake(
            store,
            memory=memory,
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
            if incident.storm:
                self._storms.recall(incident, by_incident.pop(incident.incident_id, []), self._analyst)
        for incident_id, members in by_incident.items():
            correlator.recall(incident_id, [self._analyst.sight(episode) for episode in members], now=now)
        for group in correlator.groups.values():
            self._analyst.learn(group)
        correlator.advance(now)
        # What was committed and not yet correlated when the process died.
        lost = [e for e in episodes if e.incident_id is None]
        learned = await self._store.note(NOTE)
        if learned:
            self._storms.relearn(msgspec.json.decode(learned))
        self._pending.update((episode.key, episode) for episode in lost)
        self._wake.set()
        if self._teller is not None:
            await self._teller.open(self._known.values())
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
            while self._pending or self._unsaved or self._storms.due(self._now(), every_seconds=0.0):
                await self._work(final=True)
        except StoreError as error:
            self._log.warning("incidents not stored, they will be made again at start", err=str(error))
        if self._teller is not None:
            await self._teller.stop()

    def _committed(self, episodes: Sequence[Episode]) -> None:
        taken = self._storms.take(episodes, self._analyst, self._now())
        if taken.begun:
            # What waits was among the first of the storm.
            waiting, self._pending = self._pending, {}
            self._storms.assign(waiting.values(), self._analyst, taken)
        self._unsaved_members.update((episode.key, episode) for episode in taken.joined)
        self._pending.update((episode.key, episode) for episode in taken.rest)
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
                    await self._remember()
                await self._work()
                self.last_error = None
                await asyncio.sleep(IDLE_SHARE * (time.monotonic() - began))
                if self._pending:
                    self._wake.set()
            except StoreError as error:
                self._metrics.failures.inc()
                if self.last_error is None:
                    self._log.warning("incidents not stored, will try again", err=str(error))
                self.last_error = str(error)
                await asyncio.sleep(RETRY_SECONDS)
                self._wake.set()
            except Exception as error:
                # The loop's edge: intake must go on whatever a strange alert does here.
                self._metrics.failures.inc()
                self.last_error = repr(error)
                self._log.exception("correlation broke off")

    def _patience(self) -> float:
        """Seconds until there is something to do though nothing arrives."""
        due = self._analyst.correlator.next_due()
        patience = 0.25 if self._unsaved or self._storms.raging else SWEEP_SECONDS
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
        now = self._now()
        self._storms.tick(now)
        storms = self._storms.due(now, every_seconds=0.0 if final else BIG_SECONDS)
        if not (self._unsaved or self._unsaved_merged or self._unsaved_members or storms):
            return
        now_ns = int(now * 1e9)
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
        incidents += [storm.incident(self._analyst, now_ns=now_ns) for storm in storms]
        gone = list(self._unsaved_merged.values())
        # What is not stored stays in `_unsaved…`, so that a later pass writes membership with its incident.
        members = list(self._unsaved_members.values())
        await self._store.put_incidents([*incidents, *gone], members)
        for storm in storms:
            storm.changed, storm.told_at = False, now
        for episode in members:
            if episode.deliveries == 1:
                self._metrics.delay.observe(max(self._now() - episode.first_seen_ns / 1e9, 0.0))
        self._unsaved = put_off
        self._unsaved_members.clear()
        self._unsaved_merged.clear()
        if self._teller is not None:
            self._teller.consider([*gone, *incidents])
        for incident in gone:
            self._tell("incident.merged", incident)
        for incident in incidents:
            before = self._known.get(incident.incident_id)
            self._known[incident.incident_id] = incident
            if before is None:
                self._metrics.by_priority.labels(incident.priority).inc()
            if before is None or before != incident:
                self._tell("incident.opened" if before is None else "incident.updated", incident)
            if incident.state == "resolved" and (before is None or before.state == "open"):
                self._tell("incident.resolved", incident)
        self._metrics.open.set(sum(incident.state == "open" for incident in self._known.values()))
        self._metrics.passes.observe(time.perf_counter() - began)

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
                known = correlator.refresh(episode)
                if known is not None and episode.state == "resolved":
                    self._analyst.learn(known, (episode.key,))
                if episode.state == "unknown":
                    self._unsaved_members[episode.key] = episode
            self._unsaved.add(home)
        for merge in correlator.advance(now):
            self._metrics.merges.inc()
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

    async def _remember(self) -> None:
        """Keep what a restart must not forget."""
        await self._store.put_note(NOTE, msgspec.json.encode(self._storms.learned()))

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
        self._storms.forget(now_ns - REMEMBER_RESOLVED_NS)
        self._metrics.storms.set(len(self._storms.raging))
        self._metrics.evicted.set(self.intake.memory.n_evicted)
        self._metrics.tell(quality(self._analyst.correlator.groups.values()))
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
