"""Reloads that people ask for: what one waits for, whether it succeeded, what waits for the next start."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from prometheus_client import CollectorRegistry, Gauge

from sidecar.config.model import Config
from sidecar.errors import ConfigError
from sidecar.telemetry import get_logger

PATIENCE_SECONDS = 10.0
"""So long who asks for a reload is kept waiting; compiling, or learning from history, takes longer."""

NEED_RESTART = ("server", "store", "webhook", "notify", "export", "log")
RESPONSE_NEEDS_RESTART = ("link_secret", "silences", "synthetic", "hooks", "kubernetes")


class ReloadMetrics:
    """The outcome of the last reading of the configuration."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._successful = Gauge(
            "pronoia_config_last_reload_successful",
            "1 if the last reading of the configuration succeeded.",
            registry=registry,
        )
        self._at = Gauge(
            "pronoia_config_last_reload_success_timestamp_seconds",
            "Time of the last successful reading of the configuration.",
            registry=registry,
        )

    def succeeded(self, now: float) -> None:
        """The configuration was read, and is used."""
        self._successful.set(1)
        self._at.set(now)

    def failed(self) -> None:
        """The configuration could not be used."""
        self._successful.set(0)


class Reloads:
    """Reloads under way. `waits_for`: what one that takes long waits for now, in words."""

    def __init__(self, reload: Callable[[], Coroutine[Any, Any, None]], waits_for: Callable[[], str]) -> None:
        self._reload = reload
        self._waits_for = waits_for
        self._tasks: set[asyncio.Task[Any]] = set()
        self._log = get_logger("app")

    async def ask(self) -> str:
        """Reload; what it waits for where that takes longer, it goes on by itself then. Empty: it is done.

        Raises: ConfigError, and then the old configuration runs on.
        """
        task = asyncio.create_task(self._reload(), name="reload")
        self._tasks.add(task)
        task.add_done_callback(self._over)
        await asyncio.wait({task}, timeout=PATIENCE_SECONDS)
        if task.done():
            task.result()
            return ""
        words = self._waits_for()
        self._log.info("the reload goes on, and waits", waits_for=words)
        return words

    def begin(self) -> None:
        """The same where nobody hears an answer: a signal."""
        task = asyncio.create_task(self.ask(), name="asked to reload")
        self._tasks.add(task)
        task.add_done_callback(self._answered)

    def _answered(self, task: asyncio.Task[str]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # Told where it was found.

    def _over(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, ConfigError):  # That one is told where it was found.
            self._log.error("the reload broke off", exc_info=error)


def waits_for_restart(before: Config, after: Config) -> list[str]:
    """Sections that differ and take effect at the next start only."""
    return [
        *(name for name in NEED_RESTART if getattr(before, name) != getattr(after, name)),
        *(
            f"response.{name}"
            for name in RESPONSE_NEEDS_RESTART
            if getattr(before.response, name) != getattr(after.response, name)
        ),
    ]
