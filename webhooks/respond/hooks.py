"""Automatic steps: only what is configured, at first dry, once an incident, stopped when they fail.

A run is written down before it begins; what a crash interrupts is not tried
again, since nobody knows how far it came.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Protocol

import msgspec
from prometheus_client import CollectorRegistry, Counter, Gauge

from sidecar.background import Background
from sidecar.config.response import Hook
from sidecar.errors import NotifyError, StoreError
from sidecar.records import Incident
from sidecar.telemetry import get_logger
from webhooks.notify.channel import Poster
from webhooks.notify.message import document
from webhooks.respond.routing import labels_of, matches

NOTE = "hooks"
MAX_DONE = 1000
LONGEST_SECONDS = 300.0
"""The longest `timeout` that a hook may state; its own ends a run before."""


class Past(msgspec.Struct):
    """What a hook has done so far."""

    last_run: float = 0.0
    failures: int = 0
    """In a row; a success forgets them."""
    done: list[str] = []


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
    if past.failures >= hook.max_failures and now - past.last_run < hook.reset_after:
        return "stopped"
    if past.last_run and now - past.last_run < hook.cooldown:
        return "cooling"
    return "dry" if hook.dry_run else "run"


class Hooks:
    """Runs the configured hooks for incidents that are new to them."""

    def __init__(
        self,
        hooks: Iterable[Hook],
        notes: Notes,
        *,
        metrics: HookMetrics,
        note: Callable[[str, str, str], None],
        post: Callable[[str, bytes], Awaitable[None]] | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._hooks = tuple(hooks)
        self._notes = notes
        self._metrics = metrics
        self._note = note
        self._poster = Poster(LONGEST_SECONDS)
        self._post = post or self._post_now
        self._now = now
        self._past: dict[str, Past] = {}
        self._queue: asyncio.Queue[Incident] = asyncio.Queue()
        self._task = Background("hooks")
        self._log = get_logger("hooks")

    async def open(self) -> None:
        """Remember what was done before a restart, begin. Raises: StoreError."""
        if not self._hooks:
            return
        kept = await self._notes.note(NOTE)
        self._past = msgspec.json.decode(kept, type=dict[str, Past]) if kept else {}
        self._task.start(self._run())

    async def stop(self) -> None:
        """End, after what is under way."""
        await self._task.stop()
        await self._poster.close()

    def consider(self, incidents: Iterable[Incident]) -> None:
        """Take incidents as they now are."""
        for incident in incidents if self._task.started else ():
            if incident.state == "open" and any(self._wanted(hook, incident) for hook in self._hooks):
                self._queue.put_nowait(incident)

    async def _run(self) -> None:
        while True:
            incident = await self._queue.get()
            for hook in self._hooks:
                try:
                    await self.act(hook, incident)
                except StoreError as error:
                    self._log.warning(
                        "hook not run, it could not be written down", hook=hook.name, err=str(error)
                    )
                except Exception:
                    # The loop's edge: one odd incident must not end the others' hooks.
                    self._log.exception("a hook broke off", hook=hook.name)

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
            past.done = [*past.done, incident.incident_id][-MAX_DONE:]
            past.last_run = self._now()
            await self._keep()
        if outcome == "run":
            outcome, words = await self._do(hook, past, incident)
            await self._keep()
        elif outcome == "dry":
            words = f"{hook.name}: would be run (dry_run is on)"
        else:
            past.done = [*past.done, incident.incident_id][-MAX_DONE:]
        stopped = past.failures >= hook.max_failures
        self._metrics.stopped.labels(hook.name).set(float(stopped))
        self._metrics.runs.labels(hook.name, outcome).inc()
        self._note(incident.incident_id, "hook", words)
        return outcome

    async def _do(self, hook: Hook, past: Past, incident: Incident) -> tuple[str, str]:
        key = f"hook/{hook.name}/{incident.incident_id}"
        body = msgspec.json.encode({**document("opened", incident, key=key), "hook": hook.name})
        try:
            async with asyncio.timeout(hook.timeout):
                await self._post(hook.url.get_secret_value(), body)
        except (NotifyError, TimeoutError) as error:
            past.failures += 1
            why = str(error) or f"no answer within {hook.timeout:g} s"
            left = hook.max_failures - past.failures
            more = "; it is stopped" if left <= 0 else ""
            self._log.error("hook failed", hook=hook.name, incident=incident.incident_id, err=why)
            return "failed", f"{hook.name}: failed: {why}{more}"
        past.failures = 0
        return "ok", f"{hook.name}: done"

    def _wanted(self, hook: Hook, incident: Incident) -> bool:
        done = self._past.get(hook.name, Past()).done
        return (
            incident.state == "open"
            and incident.priority <= hook.min_priority
            and incident.incident_id not in done
            and matches(hook.match, labels_of(incident))
        )

    async def _keep(self) -> None:
        await self._notes.put_note(NOTE, msgspec.json.encode(self._past))

    async def _post_now(self, url: str, body: bytes) -> None:
        await self._poster.post(url, body=body, headers={})
