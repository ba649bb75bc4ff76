"""Memory that was freed leaves the process, though blocks that live on lie between."""

from __future__ import annotations

import asyncio
import gc
import os
import platform
import subprocess
import sys
import weakref

import pytest
from prometheus_client import CollectorRegistry

from sidecar.app import freed_memory
from sidecar.app.freed_memory import ARENAS, FreedMemory, collect, trim

BLOCK, N_BLOCKS, EVERY = 100_000, 600, 20
"""Below 128 KiB, from where on glibc takes each block from the machine by itself, and gives it back so."""

glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc keeps what is freed so")


@glibc
def test_what_lies_between_living_blocks_is_given_back() -> None:
    trim()
    blocks = [bytes(bytearray(BLOCK)) for _ in range(N_BLOCKS)]
    living = blocks[::EVERY]
    del blocks
    assert trim() > 0.7 * BLOCK * (N_BLOCKS - len(living))
    assert trim() < 0.1 * BLOCK * N_BLOCKS, "once"


def test_what_refers_to_itself_is_freed_though_it_lived_long() -> None:
    class Part:
        other: object = None

    one = Part()
    one.other = one
    gc.collect()  # It lives longest now, and is looked at last.
    gone = weakref.ref(one)
    del one
    gc.collect(1)
    assert gone() is not None
    collect()
    assert gone() is None


def test_a_c_library_without_the_call_gives_back_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ctypes.CDLL", lambda _: object())
    assert trim() == 0


ARENAS_OF_THREADS = """
import sys, threading
from sidecar.app.freed_memory import share_arenas
if sys.argv[1] == "shared":
    share_arenas()
here = threading.Barrier(9)
def hold():
    kept = [bytearray(3000) for _ in range(2000)]
    here.wait()
    here.wait()
threads = [threading.Thread(target=hold) for _ in range(8)]
for one in threads: one.start()
here.wait()
ranges = [line.split()[0].split("-") for line in open("/proc/self/maps")]
# Each arena beyond the first lies in heaps of its own, which begin at multiples of 64 MB.
print(sum(int(begin, 16) % (64 << 20) == 0 for begin, _ in ranges))
here.wait()
"""


@glibc
@pytest.mark.parametrize(("mode", "few"), [("shared", True), ("alone", False)])
def test_threads_share_arenas(mode: str, few: bool) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "MALLOC_ARENA_MAX"}
    found = subprocess.run(
        [sys.executable, "-c", ARENAS_OF_THREADS, mode], capture_output=True, check=True, env=environment
    )
    assert (int(found.stdout) < ARENAS + 2) is few


async def test_each_round_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(freed_memory, "TRIM_SECONDS", 0.001)
    registry = CollectorRegistry()
    freed = FreedMemory(registry, lambda: 1000)
    freed.start()
    async with asyncio.timeout(10):
        while (registry.get_sample_value("pronoia_memory_given_back_bytes_total") or 0.0) < 2000.0:
            await asyncio.sleep(0.001)
    await freed.stop()
