"""Open files, connections among them: as many as the machine allows, and few words where they run out."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import time
from collections.abc import Callable
from typing import Any

from sidecar.telemetry import get_logger

ENOUGH = 65_536
"""What is allowed beyond is of no use, and some machines allow a milliard."""

TELL_EVERY_SECONDS = 60.0
OUT_OF = "socket.accept() out of system resource"
"""How asyncio's message begins; it comes a hundred times a second then, each time with a traceback."""


def allow_open_files() -> None:
    """Raise the limit on open files as far as we may: a login's is 1024, which forgotten connections fill."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = ENOUGH if hard == resource.RLIM_INFINITY else min(hard, ENOUGH)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(
            OSError, ValueError
        ):  # Some systems have a lower bound that they do not tell.
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


class LoopErrors:
    """An event loop's handler of errors that nobody waits for."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._told_at: float | None = None
        self._log = get_logger("app")

    def __call__(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Tell of one."""
        if not str(context.get("message", "")).startswith(OUT_OF):
            loop.default_exception_handler(context)
            return
        now = self._monotonic()
        if self._told_at is None or now - self._told_at >= TELL_EVERY_SECONDS:
            self._told_at = now
            self._log.error(
                "no connection can be taken until others end",
                err=str(context.get("exception", "")),
                limit=resource.getrlimit(resource.RLIMIT_NOFILE)[0],
            )
