"""Automatic steps: only what is configured, at first dry, once an incident, stopped when they fail.

A run is written down before it begins; what a crash interrupts is not tried
again, since nobody knows how far it came.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from itertools import islice
from typing import Protocol

import msgspec
from prometheus_client import CollectorRegistry, Counter, Gauge

from sidecar.background import Background, woken
from sidecar.config.response import Hook
from sidecar.errors import NotifyError, StoreError
from sidecar.records import Incident
from sidecar.telemetry import get_logger
from webhooks.respond.routing import labels_of, matches

NOTE = "hooks"
MAX_DONE = 1000
TICK_SECONDS = 10.0


class Past(msgspec.Struct):
    """What a hook has done so far."""

    last_run: float = 0.0
    failures: int = 0
    """In a row; a success forgets them."""
    done: list[str] = []
    ended: dict[str, float] = {}
    """When its runs for these incidents were over; what follows it waits from then."""


class Notes(Protocol):
    """The store's notes."""

    async def note(self, name: str) -> bytes | None:
        """What was put under that name."""
        ...

    async def put_note(self, name: str, body: bytes) -> None:
        """Keep it."""
        ...


class HookMetrics:
    """What hooks tell of themselves."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.runs = Counter(
            "pronoia_hook_runs_total",
            "Automatic steps, by outcome: ok, failed, dry (only said), cooling (too soon), "
            "stopped (failed too often).",
            ["hook", "result"],
            registry=registry,
        )
        self.stopped = Gauge(
            "pronoia_hook_stopped",
            "1 if the hook failed too often and is stopped.",
            ["hook"],
            registry=registry,
        )


def verdict(hook: Hook, past: Past, now: float) -> str:
    """What a hook that matches may do now: run, dry, cooling or stopped."""
    since = _apart(now, past.last_run)
    if past.failures >= hook.max_failures and since < hook.reset_after:
        return "stopped"
    if past.last_run and since < hook.cooldown:
        return "cooling"
    return "dry" if hook.dry_run else "run"


def _apart(now: float, then: float) -> float:
    """Seconds between, either way: one that ran while the clock was a year ahead must not rest for that."""
    return abs(now - then)


class Hooks:
    """Runs the configured hooks for incidents that are new to them."""

    def __init__(
        self,
        hooks: Iterable[Hook],
        notes: Notes,
        *,
        metrics: HookMetrics,
        note: Callable[[str, str, str], None],
        run: Callable[[Hook, Incident], Awaitable[str]],
        now: Callable[[], float] = time.time,
    ) -> None:
        self._hooks = tuple(hooks)
        self._notes = notes
        self._metrics = metrics
        self._note = note
        self._run_step = run
        self._now = now
        self._past: dict[str, Past] = {}
        self._open: dict[str, Incident] = {}
        self._tasks = {hook.name: Background(f"hook-{hook.name}") for hook in self._hooks}
        self._wakes = {hook.name: asyncio.Event() for hook in self._hooks}
        self._log = get_logger("hooks")

    async def open(self) -> None:
        """Remember what was done before a restart, begin. Raises: StoreError."""
        if not self._hooks:
            return
        kept = await self._notes.note(NOTE)
        self._past = msgspec.json.decode(kept, type=dict[str, Past]) if kept else {}
        for hook in self._hooks:
            self._tasks[hook.name].start(self._run(hook))

    async def stop(self) -> None:
        """End; what is under way is cut, and not tried again."""
        for task in self._tasks.values():
            await task.stop()

    def consider(self, incidents: Iterable[Incident]) -> None:
        """Take incidents as they now are."""
        for incident in incidents if self._hooks else ():
            if incident.state == "open":
                self._open[incident.incident_id] = incident
            else:
                self._open.pop(incident.incident_id, None)
        for wake in self._wakes.values():
            wake.set()

    async def _run(self, hook: Hook) -> None:
        """One hook's loop: a step that takes long holds up no other hook."""
        while True:
            for incident in list(self._open.values()):
                # It may have ended while another one's step ran.
                current = self._open.get(incident.incident_id)
                if current is None:
                    continue
                try:
                    await self.act(hook, current)
                except StoreError as error:
                    self._log.warning(
                        "hook not run, it could not be written down", hook=hook.name, err=str(error)
                    )
                except Exception:
                    # The loop's edge: one odd incident must not end the others' hooks.
                    self._log.exception("a hook broke off", hook=hook.name)
            await woken(self._wakes[hook.name], TICK_SECONDS)

    async def act(self, hook: Hook, incident: Incident) -> str:
        """Let a hook do for an incident what it may; the outcome, empty where it is not for it.

        Raises: StoreError, and then nothing was done.
        """
        if not self._wanted(hook, incident):
            return ""
        past = self._past.setdefault(hook.name, Past())
        outcome = verdict(hook, past, self._now())
        words = f"{hook.name}: {outcome}"
        if outcome in ("run", "dry"):
            await self._write_down(past, incident)
            if outcome == "run":
                outcome, words = await self._do(hook, past, incident)
            else:
                words = f"{hook.name}: would be run (dry_run is on)"
            past.ended = {**past.ended, incident.incident_id: self._now()}
            while len(past.ended) > MAX_DONE:
                del past.ended[next(iter(past.ended))]
            await self._keep()
        else:
            past.done = self._with(past.done, incident)
        stopped = past.failures >= hook.max_failures
        self._metrics.stopped.labels(hook.name).set(float(stopped))
        self._metrics.runs.labels(hook.name, outcome).inc()
        self._note(incident.incident_id, "hook", words)
        return outcome

    async def _write_down(self, past: Past, incident: Incident) -> None:
        """Keep that a run begins. Raises: StoreError, and then it has not begun."""
        before = past.done, past.last_run
        past.done, past.last_run = self._with(past.done, incident), self._now()
        try:
            await self._keep()
        except StoreError:
            past.done, past.last_run = before
            raise

    def _with(self, done: list[str], incident: Incident) -> list[str]:
        """What a hook has done, with this; of too many the oldest go that are over, and do not come again."""
        done = [*done, incident.incident_id]
        over = (one for one in done if one not in self._open)
        gone = set(islice(over, max(len(done) - MAX_DONE, 0)))
        return [one for one in done if one not in gone]

    async def _do(self, hook: Hook, past: Past, incident: Incident) -> tuple[str, str]:
        try:
            async with asyncio.timeout(hook.timeout):
                said = await self._run_step(hook, incident)
        except (NotifyError, TimeoutError) as error:
            past.failures += 1
            why = str(error) or f"no answer within {hook.timeout:g} s"
            left = hook.max_failures - past.failures
            more = "; it is stopped" if left <= 0 else ""
            self._log.error("hook failed", hook=hook.name, incident=incident.incident_id, err=why)
            return "failed", f"{hook.name}: failed: {why}{more}"
        past.failures = 0
        return "ok", f"{hook.name}: {said}"

    def _wanted(self, hook: Hook, incident: Incident) -> bool:
        done = self._past.get(hook.name, Past()).done
        return (
            incident.state == "open"
            and incident.priority <= hook.min_priority
            and incident.incident_id not in done
            and matches(hook.match, labels_of(incident))
            and self._is_its_turn(hook, incident)
        )

    def _is_its_turn(self, hook: Hook, incident: Incident) -> bool:
        """Whether the step before it, where there is one, has had its time to help."""
        if hook.after is None:
            return True
        ended = self._past.get(hook.after, Past()).ended.get(incident.incident_id)
        return ended is not None and _apart(self._now(), ended) >= hook.wait

    async def _keep(self) -> None:
        await self._notes.put_note(NOTE, msgspec.json.encode(self._past))
