"""How far back a source's data reach: a past that nobody recorded is no quiet past."""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

from rules.backtest.past import Window
from sidecar.errors import PullError

FINEST_MS = 2 * 3_600_000
"""Prometheus answers by its blocks, the newest of which are so long."""

PARTS = 64


class Recorded(Protocol):
    """What tells of which time there are data; `PrometheusClient` has it."""

    async def label_names(self, *, start_ms: int, end_ms: int) -> list[str]:
        """Names of labels that series have in that time. Raises: PullError."""
        ...


async def within_reach(source: Recorded, window: Window) -> Window:
    """The window from about where the source's data begin; unchanged where it cannot tell, or has none.

    A few requests for names of labels, by halves; one where the data reach far enough.
    """
    grain = max((window.end_ms - window.start_ms) // PARTS, FINEST_MS, window.step_ms)
    n_parts = (window.end_ms - window.start_ms) // grain

    async def begins_before(part: int) -> bool:
        return bool(await source.label_names(start_ms=window.start_ms, end_ms=window.start_ms + part * grain))

    try:
        if n_parts < 1 or await begins_before(1) or not await begins_before(n_parts):
            return window
        empty, known = 1, n_parts
        while known - empty > 1:
            middle = (empty + known) // 2
            empty, known = (empty, middle) if await begins_before(middle) else (middle, known)
    except PullError:
        return window
    return replace(window, start_ms=window.start_ms + empty * grain // window.step_ms * window.step_ms)
