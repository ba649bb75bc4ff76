"""One thing that worker threads change in place: one piece of work at it at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from sidecar.offload import Offload

P = ParamSpec("P")
T = TypeVar("T")


class Alone:
    """Runs pieces of work in threads, one after another, also where nobody waits for one any more.

    Cancelling ends the waiting, not the thread: whoever comes next must wait for its end all the same.
    """

    def __init__(self, offload: Offload) -> None:
        self._offload = offload
        self._lock = asyncio.Lock()

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The result of `work(*args, **kwargs)`, once all that was begun before has ended."""
        await self._lock.acquire()
        running = asyncio.ensure_future(self._offload.run(work, *args, **kwargs))
        running.add_done_callback(self._ended)
        return await asyncio.shield(running)

    def _ended(self, running: asyncio.Future[Any]) -> None:
        self._lock.release()
        if not running.cancelled():
            running.exception()  # Perhaps there is nobody left to be told.
