"""Signals that come while a command is still being loaded, when nothing is under way that could be lost."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

INTERRUPTED = 1
"""As click says it of a command that Ctrl-C has ended."""


@contextmanager
def ended_at_once() -> Iterator[None]:
    """While it lasts Ctrl-C ends the process without an exception.

    What is imported swallows one, or tells it as another: pydantic does both.
    """
    with _heeded({signal.SIGINT: INTERRUPTED}):
        yield


@contextmanager
def stopped_at_once() -> Iterator[None]:
    """While it lasts the sidecar is stopped by Ctrl-C and SIGTERM, as in order as when it serves.

    To the first process of a container the kernel gives no signal that it does not handle: it would
    be waited for, and killed after half a minute.
    """
    with _heeded({signal.SIGINT: 0, signal.SIGTERM: 0}):
        yield


@contextmanager
def _heeded(codes: dict[signal.Signals, int]) -> Iterator[None]:
    """Has each signal end the process with its code."""
    if threading.current_thread() is not threading.main_thread():
        yield  # Only the main thread may say what signals do.
        return

    def end(number: int, _frame: FrameType | None) -> NoReturn:
        code = codes[signal.Signals(number)]
        if code:
            os.write(2, b"\nAborted!\n")
        os._exit(code)

    before = {number: signal.signal(number, end) for number in codes}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
