"""Models are fitted in a process of their own, so that scoring never waits for them or their memory.

scikit-learn and torch hold Python's lock for long stretches, which a thread would take from every
step. The process begins with the first fit, yields to all others, and ends after some fits, so
that what these libraries keep is given back.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait
from typing import ParamSpec, TypeVar

from sidecar.cores import VARIABLES

P = ParamSpec("P")
T = TypeVar("T")

FITS_A_PROCESS = 20
NICENESS = 10


class FitProcess(Executor):
    """An executor of one process that is not there until it is needed, and comes again if it died.

    `prepare`: what that process does first, pickled.
    """

    def __init__(self, prepare: Callable[[], object] | None = None) -> None:
        self._prepare = prepare
        self._pool: ProcessPoolExecutor | None = None
        self._begun = 0
        """Fits that the process of now was given."""
        self._under_way = 0
        self._lock = threading.Lock()
        """Two queries that learn at once would have a process each, of which one is forgotten."""

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Run it there; functions and arguments are pickled. May be called from any thread."""
        with self._lock:
            try:
                fit = self._running().submit(fn, *args, **kwargs)
            except BrokenProcessPool:
                self._pool = None
                fit = self._running().submit(fn, *args, **kwargs)
            self._begun += 1
            self._under_way += 1
        fit.add_done_callback(self._give_back)
        return fit

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End it; a fit under way is waited for where `wait` says so."""
        if self._pool is not None:
            self._pool.shutdown(wait=wait, cancel_futures=cancel_futures)

    def cut(self) -> None:
        """End it amid a fit: whoever would take that is gone, and Python would wait for it before it ends."""
        if self._pool is not None:
            for process in (self._pool._processes or {}).values():
                process.kill()
            self._pool.shutdown(wait=False, cancel_futures=True)

    def _running(self) -> ProcessPoolExecutor:
        if self._pool is None:
            self._pool = ProcessPoolExecutor(
                1,
                mp_context=get_context("spawn"),
                initializer=_begin,
                initargs=(self._prepare,),
            )
            self._begun = 0
        return self._pool

    def _give_back(self, _: object) -> None:
        """End the process after so many fits, once none is under way, and with it what they left in memory.

        The pool's own `max_tasks_per_child` counts a worker that took the next task as idle: after fits
        that waited for one another no new worker came, and those behind waited for ever (CPython 115634).
        """
        with self._lock:
            self._under_way -= 1
            if self._pool is not None and self._begun >= FITS_A_PROCESS and not self._under_way:
                self._pool.shutdown(wait=False)
                self._pool = None


def _begin(prepare: Callable[[], object] | None) -> None:
    """Let every other process go first, use one core at most, and end with the sidecar however that ends."""
    os.nice(NICENESS)
    # A Ctrl-C, or systemd's SIGTERM to all processes of a service, is the sidecar's, which ends this one too.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    for name in VARIABLES:
        os.environ[name] = "1"
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    if prepare is not None:
        prepare()


def _end_with_the_parent() -> None:
    """A killed sidecar tells nobody, and this process would wait for its next fit for ever."""
    parent = parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
