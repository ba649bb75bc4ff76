"""The loop that keeps the thresholds of joined rules exported; what ends it lets the rules' numbers hold."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Protocol

from rules.adapt.threshold_series import ThresholdSeries
from sidecar.background import Background
from sidecar.errors import SidecarError
from sidecar.series import LabelSet
from sidecar.telemetry import get_logger

EVERY_SECONDS = 15.0
VALID_SECONDS = 120.0
"""So long a value is shown without being looked up anew: a loop that hangs must not freeze a threshold."""


class ThresholdSink(Protocol):
    """Where the values go."""

    def publish(self, values: Mapping[LabelSet, float], *, valid_seconds: float) -> None:
        """Show all of them, in place of those before."""
        ...


class ThresholdExport:
    """Looks up what is live, and shows it."""

    def __init__(self, series: ThresholdSeries, sink: ThresholdSink) -> None:
        self._series = series
        self._sink = sink
        self._shown = False
        self._log = get_logger("rules-thresholds")
        self._task = Background("rules-thresholds")

    def start(self) -> None:
        """Begin, on the running event loop."""
        self._task.start(self._run())

    async def stop(self) -> None:
        """End; the values leave the page in two minutes."""
        await self._task.stop()

    async def show(self) -> None:
        """Show what is live now. Raises: StoreError."""
        values = await self._series.values()
        if values or self._shown:
            self._sink.publish(values, valid_seconds=VALID_SECONDS)
            self._shown = bool(values)

    async def _run(self) -> None:
        while True:
            try:
                await self.show()
            except SidecarError as error:
                self._log.warning("thresholds not looked up, will try again", err=str(error))
            except Exception:
                # The loop's edge: the rules' own numbers hold meanwhile.
                self._log.exception("export of thresholds broke off")
            await asyncio.sleep(EVERY_SECONDS)
