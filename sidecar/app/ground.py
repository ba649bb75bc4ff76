"""What every part of the process stands on, whatever the configuration becomes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry

from exporters.page import SyntheticPage
from sidecar.events import EventBus
from sidecar.fitting import FitProcess
from sidecar.offload import Offload
from sidecar.prometheus.session import PullMetrics
from sidecar.store.protocol import Store


@dataclass(frozen=True)
class Ground:
    """Made once at the start; parts are given it whole, and each other only where they must."""

    registry: CollectorRegistry
    store: Store
    page: SyntheticPage
    wall: Callable[[], float]
    pull_metrics: PullMetrics
    bus: EventBus = field(default_factory=EventBus)
    offload: Offload = field(default_factory=Offload)
    fitting: FitProcess = field(default_factory=lambda: FitProcess(_watch_over_kernels))

    async def close(self) -> None:
        """Commit what waits, end threads and processes."""
        await self.store.close()
        self.fitting.cut()
        self.offload.close()


def _watch_over_kernels() -> None:
    from sidecar.loop.kernel_cache import watch_over_here  # numba, which only that process is to import.

    watch_over_here()
