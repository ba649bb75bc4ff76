"""Work that would block the event loop, moved to threads.

numpy, numba and sqlite3 release the GIL while they work, so threads serve;
the pool is small because two busy cores are not made faster by ten threads.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Offload:
    """A bounded thread pool for CPU work, with an awaitable call."""

    def __init__(self, threads: int = 2) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="pronoia-cpu")

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The result of `work(*args, **kwargs)`, computed off the event loop."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool, lambda: work(*args, **kwargs))

    def close(self) -> None:
        """Let running work end, start none of what waits."""
        self._pool.shutdown(wait=True, cancel_futures=True)
