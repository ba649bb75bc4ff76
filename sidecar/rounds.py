"""A loop of rounds that no failed round ends: counted, told of once, tried again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from prometheus_client import Counter

from sidecar.background import Background, woken
from sidecar.errors import SidecarError
from sidecar.telemetry import get_logger


class Rounds:
    """Does `work` again and again, resting `pause()` seconds in between unless it is woken.

    `undone` is what a failed round leaves undone, for the log. `cycles` counts rounds by `result`.
    What wakes it within `settle_seconds` is looked at together.
    """

    def __init__(
        self,
        name: str,
        work: Callable[[], Awaitable[None]],
        *,
        pause: Callable[[], float],
        undone: str,
        cycles: Counter | None = None,
        settle_seconds: float = 0.0,
    ) -> None:
        self._work = work
        self._pause = pause
        self._undone = undone
        self._cycles = cycles
        self._settle_seconds = settle_seconds
        self._task = Background(name)
        self._wake = asyncio.Event()
        self._log = get_logger(name)
        self.last_error: str | None = None

    @property
    def started(self) -> bool:
        """Whether it was begun."""
        return self._task.started

    def start(self, after_seconds: float = 0.0) -> None:
        """Begin, with a round at once or after so long."""
        self._task.start(self._run(after_seconds))

    async def stop(self) -> None:
        """End, in the middle of a round if need be."""
        await self._task.stop()

    def wake(self) -> None:
        """Something has changed that the next round should not be late for."""
        self._wake.set()

    async def once(self) -> None:
        """One round; its failure is kept in `last_error`."""
        try:
            await self._work()
        except SidecarError as error:
            self._failed(str(error), self._log.warning)
        except Exception as error:
            # The loop's edge: a defect here must not end the process' other work.
            self._failed(repr(error), self._log.exception)
        else:
            self._count("ok")
            self.last_error = None

    async def _run(self, after_seconds: float) -> None:
        await asyncio.sleep(after_seconds)
        while True:
            await self.once()
            if await woken(self._wake, self._pause()):
                await asyncio.sleep(self._settle_seconds)

    def _failed(self, error: str, tell: Callable[..., object]) -> None:
        self._count("error")
        if error != self.last_error:
            tell(f"{self._undone}, will try again", err=error)
        self.last_error = error

    def _count(self, result: str) -> None:
        if self._cycles is not None:
            self._cycles.labels(result).inc()
