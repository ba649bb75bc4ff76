"""Ends the process in time, whatever still runs in its threads."""

from __future__ import annotations

import logging
import multiprocessing
import os
import sys
import threading
from typing import NoReturn

from sidecar.loop.warming import THREAD as WARMING
from sidecar.telemetry import get_logger

EXIT_SECONDS = 9.5
"""After the signal: a third of what Kubernetes gives before it kills."""


def exit_in_time(seconds: float = EXIT_SECONDS) -> None:
    """End the process after so many seconds, unless it has ended by itself.

    A thread that learns from weeks of history, or waits for a disk, cannot be broken off, and Python
    waits for it. What was acknowledged is durable by then; files are replaced whole or not at all.
    """
    timer = threading.Timer(seconds, _exit)
    timer.daemon = True
    timer.start()


def _exit() -> None:
    get_logger("app").warning("not all has ended in time; what is not saved is made again at start")
    _cut(0)


def leave(code: int) -> NoReturn:
    """End the process now that its work is over.

    Where a kernel is still being loaded Python is not asked to end in order: it would end that thread
    amid numba's C++, which aborts the process at times.
    """
    if any(thread.name == WARMING for thread in threading.enumerate()):
        _cut(code)
    raise SystemExit(code)


def _cut(code: int) -> NoReturn:
    for child in multiprocessing.active_children():
        child.kill()  # It would outlive its parent.
    logging.shutdown()
    sys.stdout.flush()
    os._exit(code)
