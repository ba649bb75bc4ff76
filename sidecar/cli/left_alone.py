"""Long work in a thread that Ctrl-C leaves alone, where asyncio's own threads are waited for to their end."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


async def in_thread(work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """The result of `work`, which must change nothing: who stops waiting ends the process amid it."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def settle(tell: Callable[[], None]) -> None:
        if not done.cancelled():
            tell()

    def run() -> None:
        try:
            tell = partial(done.set_result, work(*args, **kwargs))
        except Exception as error:
            tell = partial(done.set_exception, error)
        with suppress(RuntimeError):  # Nobody waits, and the loop is closed.
            loop.call_soon_threadsafe(settle, tell)

    threading.Thread(target=run, daemon=True).start()
    return await done
