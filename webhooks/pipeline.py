"""The alerts loop: durable episodes become incidents with a probable cause, and are told of.

It works from what is stored, after the sender has had its answer; when it
fails, intake goes on, and what it missed is taken up again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import msgspec
from prometheus_client import CollectorRegistry

from sidecar.background import Background, woken
from sidecar.config.webhook import WebhookConfig
from sidecar.errors import StoreError
from sidecar.events import Event, EventBus
from sidecar.ports import AlertStore
from sidecar.records import Delivery, Episode, Incident
from sidecar.telemetry import get_logger
from webhooks.announcer import Announcer
from webhooks.correlate import meaning
from webhooks.correlate.by_hand import ByHand
from webhooks.correlate.group import Group, Merge, Split
from webhooks.correlate.placing import Placing
from webhooks.correlate.topology import load_or_none
from webhooks.correlate.weights import Weights
from webhooks.heartbeats.heartbeat import Heartbeats
from webhooks.incident import describe
from webhooks.intake.commits import Intake
from webhooks.intake.fold import MAX_EPISODES, Memory
from webhooks.judge.analyst import Analyst
from webhooks.judge.impact import Impact
from webhooks.loop_metrics import LoopMetrics
from webhooks.notes import NoteStore
from webhooks.own import is_own
from webhooks.quieten.flapping import FlapWatch
from webhooks.quieten.holding import Holding
from webhooks.quieten.storms import Storms
from webhooks.quieten.transient import Transients

REMEMBER_RESOLVED_NS = 24 * 3600 * 1_000_000_000
UNKNOWN_AFTER_NS = 12 * 3600 * 1_000_000_000
"""Three times Alertmanager's default repeat_interval: what was not repeated for so long may be over."""

RETRY_SECONDS = 5.0
PLACING_SECONDS = 0.3
"""So long a pass goes on to place alerts before it stores where they are."""

JUDGING_SECONDS = 0.02
"""So long a pass judges incidents that are stored already; the rest waits for the next pass."""
BUSY_REST, CALM_REST = 3.0, 0.3
"""After a pass the loop rests so many times as long as it worked: where deliveries come, they go first."""
NOTE = "usual rates of alerts"
SWEEP_SECONDS = 60.0
FORGET_ROWS = 5_000
"""So many alerts are let go of before others have their turn."""
BIG, BIG_SECONDS = 100, 2.0
"""An incident of a storm is judged anew so often, however fast it grows."""


class LoopStore(AlertStore, NoteStore, Protocol):
    """What the loop needs beyond intake: what late deliveries may still speak of."""

    async def recent_episodes(self, since_ns: int) -> list[Episode]:
        """Open episodes, and those last seen since then."""
        ...

    async def older_of_open_incidents(self, before_ns: int) -> list[Episode]:
        """Resolved episodes, last seen before then, of incidents that are open."""
        ...


class Teller(Protocol):
    """Whoever carries incidents to people and tools."""

    async def open(self, incidents: Iterable[Incident]) -> None:
        """Take what is open at start, begin."""
        ...

    def consider(self, incidents: Iterable[Incident]) -> None:
        """Take incidents as they now are."""
        ...

    def stays(self, one: str, other: str) -> str | None:
        """Which of two incidents should stay where they become one; None where it is all the same."""
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
        self._listening_since_ns = 0
        self._at_work_since = 0.0
        self._unheard: dict[str, Incident] = {}
        """What is stored, and could not be handed on."""
        self._wake = asyncio.Event()
        self._task = Background("alerts-loop")
        self._log = get_logger("alerts-loop")
        self._metrics = LoopMetrics(registry)
        self._announcer = Announcer(bus, now=now)
        self._teller = teller
        self.last_error: str | None = None
        self.heartbeats = Heartbeats(
            config.heartbeat.alertnames,
            timeout_seconds=config.heartbeat.timeout,
            time_annotation=config.heartbeat.time_annotation,
        )
        memory = Memory()
        self.placing = Placing(
            Analyst(),
            Storms(memory, at_least=config.storm.alerts_per_minute, factor=config.storm.factor),
            FlapWatch(),
            Transients(config.hold_self_resolving),
        )
        self._holding = Holding(self.placing.wait_seconds)
        self.intake = Intake(
            store,
            memory=memory,
            max_waiting=config.queue_deliveries,
            registry=registry,
            on_committed=self._committed,
            on_delivered=self._delivered,
        )
        self.doubt = asyncio.Event()
        """Set by what the neighbours should be asked about: ends, which may be false, and alerts left out."""

    async def open(self) -> None:
        """Remember what the store holds, then begin.

        Raises: StoreError.
        """
        now = self._now()
        self._listening_since_ns = int(now * 1e9)
        config = self._config
        topology = await asyncio.to_thread(load_or_none, config.topology_file)
        encode = await asyncio.to_thread(meaning.load_or_none, config.embeddings)
        weights = Weights(hold_seconds=config.incident_hold, reach_seconds=config.incident_gap)
        self.placing.analyst = Analyst(
            topology,
            identity=config.identity_labels,
            folds=config.fold_pairs,
            weights=weights,
            encode=encode,
            impact=Impact(config.impact),
        )
        if self._teller is not None:
            self.placing.analyst.correlator.stays = self._teller.stays
        learned = await self._store.note(NOTE)
        if learned:
            self.placing.storms.relearn(msgspec.json.decode(learned))
        since_ns = self._listening_since_ns - REMEMBER_RESOLVED_NS
        episodes = await self._store.recent_episodes(since_ns)
        episodes += await self._store.older_of_open_incidents(since_ns)
        memory = self.intake.memory
        memory.recall(episodes)
        held = {episode.key: episode for episode in memory.episodes.values()}
        # All of them, each of an alert that is held: one that is left out would be told of as new.
        incidents = reversed(await self._store.incidents(state="open", limit=MAX_EPISODES))
        over = await self._store.incidents(state="resolved", limit=1000)
        remembered = [held.get(episode.key, episode) for episode in episodes]
        self.placing.recall(incidents, remembered, now, over=over)
        self._wake.set()
        if self._teller is not None:
            still_open = [one for one in self.placing.known.values() if one.state == "open"]
            await self._teller.open(self._holding.sift(still_open, now))
        self.intake.start()
        self._task.start(self._run())

    def by_hand(self) -> ByHand:
        """What people may correct of correlation."""
        return ByHand(self.placing, self._wake.set, now=self._now)

    def reconsider(self, incident_id: str) -> None:
        """Judge an incident anew: something else than its alerts tells more of it."""
        if incident_id in self.placing.analyst.correlator.groups:
            self.placing.unsaved.incidents.add(incident_id)
            self._wake.set()

    def newest(self) -> dict[str, dict[str, Episode]]:
        """By tenant, the newest episode of every fingerprint, less those that we raised."""
        found: dict[str, dict[str, Episode]] = {}
        for (tenant, fingerprint), episode in self.intake.memory.episodes.items():
            if not is_own(episode.labels):
                found.setdefault(tenant, {})[fingerprint] = episode
        return found

    async def stop(self) -> None:
        """Commit what waits, correlate it, end."""
        await self.intake.stop()
        await self._task.stop()
        try:
            while self.placing.unfinished:
                await self._work(final=True)
            if self._unheard:
                self._hand_on([])
        except StoreError as error:
            self._log.warning("incidents not stored, they will be made again at start", err=str(error))
        except Exception:
            # The loop's edge: what is decided must still be written by those behind.
            self._log.exception("correlation broke off, its rest is made again at start")
        if self._teller is not None:
            await self._teller.stop()

    def _delivered(self, deliveries: Sequence[Delivery]) -> None:
        self.heartbeats.hear(deliveries)
        if any(delivery.truncated_alerts for delivery in deliveries):
            self.doubt.set()

    def _committed(self, episodes: Sequence[Episode]) -> None:
        if any(episode.state == "resolved" for episode in episodes):
            self.doubt.set()
        self.placing.take(episodes, self._now())
        self._bus.publish(Event("alerts.received", self._now(), {"n_alerts": len(episodes)}))
        self._wake.set()

    async def _run(self) -> None:
        swept, noted = time.monotonic(), True
        while True:
            await woken(self._wake, self._patience())
            self._at_work_since = time.monotonic()
            try:
                if time.monotonic() - swept >= SWEEP_SECONDS:
                    swept, noted = time.monotonic(), False
                    await self._sweep()
                await self._work()
                if not noted:
                    # Again until it is stored: a turn with nothing to store does not show that there is room.
                    await self._store.put_note(NOTE, msgspec.json.encode(self.placing.storms.learned()))
                    self.intake.trouble, noted = None, True
                self.last_error = None
                await self._rest()
                if self.placing.pending:
                    self._wake.set()
            except StoreError as error:
                self._metrics.failures.inc()
                if self.last_error is None:
                    self._log.warning("not stored, will try again", err=str(error))
                self.last_error = str(error)
                await asyncio.sleep(RETRY_SECONDS)
                self._wake.set()
            except Exception as error:
                # The loop's edge: intake must go on whatever a strange alert does here.
                self._metrics.failures.inc()
                self.last_error = repr(error)
                self._log.exception("correlation broke off")
                await asyncio.sleep(RETRY_SECONDS)
                self._wake.set()

    async def _rest(self) -> None:
        """Let deliveries go first, in proportion to the time since the last rest."""
        rest = BUSY_REST if self.intake.is_busy else CALM_REST
        await asyncio.sleep(rest * (time.monotonic() - self._at_work_since))
        self._at_work_since = time.monotonic()

    def _patience(self) -> float:
        """Seconds until there is something to do though nothing arrives."""
        placing = self.placing
        patience = 0.25 if placing.unsaved.incidents or placing.storms.raging else SWEEP_SECONDS
        if self._unheard:
            patience = min(patience, RETRY_SECONDS)
        for due in (placing.analyst.correlator.next_due(), self._holding.next_due()):
            if due is not None:
                patience = min(max(due - self._now(), 0.01), patience)
        return patience

    def _last_described(self, incident_id: str) -> tuple[int, str]:
        """The new come first, then whoever has waited longest."""
        known = self.placing.known.get(incident_id)
        return (known.last_change_ns if known else 0, incident_id)

    def _soon_enough(self, group: Group) -> bool:
        """Whether a big incident that grows on was described a moment ago; then once more is no news."""
        known = self.placing.known.get(group.incident_id)
        if known is None or len(group.members) < BIG or not group.firing:
            return False
        # Either way: the clock may have been set back since.
        return abs(self._now() - known.last_change_ns / 1e9) < BIG_SECONDS

    async def _work(self, *, final: bool = False) -> None:
        """Place what waits, store what changed, tell of it."""
        changes = await self._place()
        began = time.perf_counter()
        now = self._now()
        n_merged = sum(isinstance(change, Merge) for change in changes)
        self._metrics.merges.inc(n_merged)
        self._metrics.splits.inc(len(changes) - n_merged)
        self._tell_what_waited(now)
        storms = self.placing.storms.due(now, every_seconds=0.0 if final else BIG_SECONDS)
        if not (self.placing.unsaved or storms):
            return
        incidents, put_off = self._describe(began, now, final=final)
        incidents += [storm.incident(self.placing.analyst, now_ns=int(now * 1e9)) for storm in storms]
        written = self.placing.hand_over(incidents, put_off)
        gone = list(written.gone.values())
        try:
            await self._store.put_incidents([*incidents, *gone], list(written.members.values()))
        except BaseException:
            # Not stored, or ended in the middle of it: a later pass writes membership with its incident.
            self.placing.take_back(written, storms)
            raise
        incidents = self.placing.stored(storms, now)
        for incident in gone:
            if incident.merged_into is not None:
                self._holding.follow(incident.incident_id, incident.merged_into)
        for episode in written.members.values():
            if episode.deliveries == 1:
                self._metrics.delay.observe(max(self._now() - episode.first_seen_ns / 1e9, 0.0))
        self._hand_on([*gone, *self._holding.sift(incidents, now)])
        for incident in gone:
            self._announcer.gone(incident)
        for incident in incidents:
            self._take_stored(incident)
        self._metrics.open.set(sum(one.state == "open" for one in self.placing.known.values()))
        self._metrics.passes.observe(time.perf_counter() - began)

    def _hand_on(self, incidents: list[Incident]) -> None:
        waiting, self._unheard = self._unheard | {one.incident_id: one for one in incidents}, {}
        try:
            if self._teller is not None:
                self._teller.consider(list(waiting.values()))
        except Exception:
            # The loop's edge: what is stored counts as told of, so it must be handed on once more.
            self._log.exception("incidents could not be handed on")
            self._unheard = waiting

    async def _place(self) -> list[Merge | Split]:
        """Place what waits, in small pieces, as far as one pass may take; the merges and splits made."""
        began = time.monotonic()
        changes = self.placing.place(self._now())
        while self.placing.pending and time.monotonic() - began < PLACING_SECONDS:
            await self._rest()
            changes += self.placing.place(self._now())
        return changes

    def _describe(self, began: float, now: float, *, final: bool) -> tuple[list[Incident], set[str]]:
        """Incidents that changed as they now are, and those that are put off to a later pass."""
        analyst = self.placing.analyst
        usual = analyst.usual()
        incidents: list[Incident] = []
        put_off: set[str] = set()
        for incident_id in sorted(self.placing.unsaved.incidents, key=self._last_described):
            group = analyst.correlator.groups.get(incident_id)
            if group is None:
                continue
            busy = time.perf_counter() - began > JUDGING_SECONDS and incident_id in self.placing.known
            if not final and (busy or self._soon_enough(group)):
                put_off.add(incident_id)
                continue
            verdict = analyst.consider_anyhow(group, now=now, usual=usual)
            silence = self._config.noise_may_silence_pages
            incidents.append(describe(group, verdict, now_ns=int(now * 1e9), noise_may_silence=silence))
        return incidents, put_off

    def _tell_what_waited(self, now: float) -> None:
        """Hand on incidents whose alerts did not resolve by themselves in their usual time."""
        due = [self.placing.known[one] for one in self._holding.due(now) if one in self.placing.known]
        if due or self._unheard:
            self._hand_on(self._holding.sift(due, now))

    def _take_stored(self, incident: Incident) -> None:
        before = self.placing.known.get(incident.incident_id)
        self.placing.known[incident.incident_id] = incident
        if before is None:
            self._metrics.by_priority.labels(incident.priority).inc()
        self._announcer.stored(incident, before)

    async def _sweep(self) -> None:
        """Forget what is long over; doubt what was not repeated for long; measure."""
        now_ns = int(self._now() * 1e9)
        memory = self.intake.memory
        n_forgotten = FORGET_ROWS
        while n_forgotten == FORGET_ROWS:  # A storm's 100,000 are over at once: up to .5 s.
            n_forgotten = memory.forget_resolved(now_ns - REMEMBER_RESOLVED_NS, most=FORGET_ROWS)
            await asyncio.sleep(0)
        doubtful = memory.doubt(
            now_ns, after_ns=UNKNOWN_AFTER_NS, listening_since_ns=self._listening_since_ns
        )
        self.placing.pending.update((episode.key, episode) for episode in doubtful)
        self.placing.forget(now_ns - REMEMBER_RESOLVED_NS)
        self._metrics.tell(
            self.placing,
            n_held=len(memory.episodes),
            n_evicted=memory.n_evicted,
            n_spared=self._holding.n_spared,
        )
