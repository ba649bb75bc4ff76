"""Gives memory that was freed back to the machine, where the C library keeps it for itself.

Learning takes and frees hundreds of megabytes in blocks of all sizes; glibc keeps what lies between
blocks that live on, in each of its arenas, so the process looks as large as it ever was and grows
by what every thread leaves, and is killed for it.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import os
import resource
from collections.abc import Callable
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter

from sidecar.rounds import Rounds

TRIM_SECONDS = 60.0
M_ARENA_MAX, ARENAS = -8, 2
"""glibc would have eight arenas a core, so that what one thread freed is of no use to another."""

_RESIDENT = Path("/proc/self/statm")


class FreedMemory:
    """A loop beside the others. `give_back()`: bytes that were given back."""

    def __init__(self, registry: CollectorRegistry, give_back: Callable[[], int] | None = None) -> None:
        self._give_back = give_back or trim
        self._rounds = Rounds(
            "freed-memory", self._look, pause=lambda: TRIM_SECONDS, undone="freed memory not given back"
        )
        self._given = Counter(
            "pronoia_memory_given_back_bytes_total",
            "Memory that the process had freed and the C library still held, given back to the machine.",
            registry=registry,
        )

    def start(self) -> None:
        """Begin; the first time is in a minute."""
        self._rounds.start(after_seconds=TRIM_SECONDS)

    async def stop(self) -> None:
        """End."""
        await self._rounds.stop()

    async def _look(self) -> None:
        self._given.inc(await asyncio.to_thread(self._give_back))


def share_arenas() -> None:
    """Let threads share their arenas; before the first of them begins. Nothing where this is not glibc.

    What `MALLOC_ARENA_MAX` in the environment says stands. Source: mallopt(3), malloc.h of glibc.
    """
    mallopt = _of_libc("mallopt")
    if mallopt is not None and "MALLOC_ARENA_MAX" not in os.environ:
        mallopt(M_ARENA_MAX, ARENAS)


def collect() -> None:
    """Free what refers to itself, such as what compiling leaves: a hundred megabytes at a first start.

    By itself the collector would come to it within a day, since it seldom walks all that lives long.
    """
    gc.collect()
    trim()


def trim() -> int:
    """Give back what can be; by how many bytes the process shrank. Nothing where this is not glibc.

    Source: malloc_trim(3); it walks every arena since glibc 2.8, a few milliseconds for a gigabyte.
    """
    malloc_trim = _of_libc("malloc_trim")
    if malloc_trim is None or not _RESIDENT.exists():
        return 0
    before = _resident_bytes()
    malloc_trim(0)
    return max(before - _resident_bytes(), 0)


def _of_libc(name: str) -> Callable[..., int] | None:
    """A function of glibc's; None in another C library, where the name may mean nothing."""
    found: Callable[..., int] | None = getattr(ctypes.CDLL(None), name, None)
    return found


def _resident_bytes() -> int:
    return int(_RESIDENT.read_text().split()[1]) * resource.getpagesize()
