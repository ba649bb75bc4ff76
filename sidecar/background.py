"""Loops that run beside others: begun once, ended by cancelling, woken before their time."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import structlog


class Background:
    """One such loop; `started` stays true after its end."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._task: asyncio.Task[None] | None = None

    @property
    def started(self) -> bool:
        """Whether it was begun."""
        return self._task is not None

    def start(self, loop: Coroutine[Any, Any, None]) -> None:
        """Run `loop` on the running event loop."""
        self._task = asyncio.create_task(loop, name=self._name)
        self._task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        """A loop that nobody ended is missed by nobody but who reads this."""
        if not task.cancelled() and (error := task.exception()) is not None:
            log = structlog.stdlib.get_logger().bind(component=self._name)
            log.error("the loop has ended, what it did waits for a restart", exc_info=error)

    async def stop(self) -> None:
        """Cancel it and wait for its end; nothing where it was not begun."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)


async def woken(wake: asyncio.Event, seconds: float) -> bool:
    """Wait until `wake` is set, but no longer than `seconds`; it is unset then. True: it was set."""
    try:
        async with asyncio.timeout(seconds):
            await wake.wait()
    except TimeoutError:
        pass
    was_set = wake.is_set()
    wake.clear()
    return was_set
