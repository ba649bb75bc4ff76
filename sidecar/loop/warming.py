"""Loads or compiles what judging needs before the first answer arrives, and says that it does.

Kernels are compiled by numba once on a machine, which takes ten seconds and more, and are cached
then. It happens in a thread, so that the process serves and takes alerts meanwhile.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence

import numpy as np
from prometheus_client import CollectorRegistry, Gauge

from sidecar.config.model import QueryConfig
from sidecar.series import LabelSet, SeriesBatch
from sidecar.telemetry import get_logger

TELL_AFTER_SECONDS = 3.0
"""Loading takes less; what takes longer is compiling, which people should know they wait for."""

BEGIN_MS = 1_700_000_000_000
N_LEARNT, N_JUDGED = 300, 20
THREAD = "pronoia-warm"


class Warming:
    """Runs `kernels` one after another in a thread of its own."""

    def __init__(self, kernels: Sequence[Callable[[], None]], *, registry: CollectorRegistry) -> None:
        self._kernels = kernels
        self._log = get_logger("warming")
        self._stopped = False
        self._finished = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._under_way = Gauge(
            "pronoia_warming_up",
            "1 while kernels are loaded, or compiled for this machine; scores wait for it.",
            registry=registry,
        )
        self._seconds = Gauge(
            "pronoia_warm_up_seconds",
            "How long it took to load or compile the kernels at the start.",
            registry=registry,
        )

    @property
    def under_way(self) -> bool:
        """Whether what was begun is not done yet."""
        return self._task is not None and not self._finished.is_set()

    def start(self) -> None:
        """Begin, on the running event loop."""
        self._under_way.set(1)
        self._task = asyncio.create_task(self._run(), name="warming")

    async def stop(self) -> None:
        """End after the kernel under way, without waiting for it."""
        self._stopped = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        began = time.monotonic()
        loop = asyncio.get_running_loop()

        def done() -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(self._finished.set)

        # A daemon: a compilation cannot be broken off, and nobody waits for it at the end.
        threading.Thread(target=self._warm, args=(done,), name=THREAD, daemon=True).start()
        try:
            await asyncio.wait_for(self._finished.wait(), TELL_AFTER_SECONDS)
            tell = self._log.debug
        except TimeoutError:
            self._log.info("compiling for this machine, once; first scores wait for it")
            await self._finished.wait()
            tell = self._log.info
        seconds = time.monotonic() - began
        self._under_way.set(0)
        self._seconds.set(seconds)
        tell("kernels are ready", elapsed_seconds=round(seconds, 1))

    def _warm(self, done: Callable[[], None]) -> None:
        try:
            for kernel in self._kernels:
                if not self._stopped:
                    kernel()
        except Exception:
            # The thread's edge: whoever needs the kernel meets the same fault, and tells what it costs.
            self._log.exception("a kernel cannot be compiled")
        finally:
            done()


def judge_once() -> None:
    """Have two series of noise learnt, judged and forecast by a query's usual model."""
    from sidecar.engine.model import QueryModel

    query = QueryConfig(name="warm", expr="up")
    step_ms = round(query.step * 1000)
    noise = np.random.default_rng(0)
    labels = tuple(LabelSet({"series": name}) for name in ("a", "b"))

    def batch(first: int, n: int) -> SeriesBatch:
        times = BEGIN_MS // step_ms * step_ms + (first + np.arange(n, dtype=np.int64)) * step_ms
        return SeriesBatch(query.name, labels, times, noise.normal(size=(len(labels), n)))

    model = QueryModel(query)
    model.fit(batch(0, N_LEARNT))
    model.score(batch(N_LEARNT, N_JUDGED))
    for step in range(2):  # The second one has a forecast to settle.
        model.update(batch(N_LEARNT + N_JUDGED + step, 1))
        model.forecaster.work(0.1)
    model.learned_band()
