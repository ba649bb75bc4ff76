"""Prometheus' rules for those who forecast thresholds: a joined one reads as what is exported for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rules.adapt.joined import as_evaluated
from sidecar.app.ground import Ground
from sidecar.prometheus.answers import Rule
from sidecar.prometheus.client import PrometheusClient

if TYPE_CHECKING:
    from rules.adapt.threshold_series import ThresholdSeries


def joined_rules(client: PrometheusClient, ground: Ground) -> JoinedRules:
    """Those of a client, with what the store says is exported."""
    from rules.adapt.threshold_series import ThresholdSeries

    return JoinedRules(client, ThresholdSeries(ground.store, now=ground.wall))


class JoinedRules:
    """The loaded rules as they are evaluated, whichever of their thresholds pronoia exports."""

    def __init__(self, client: PrometheusClient, series: ThresholdSeries) -> None:
        self._client = client
        self._series = series
        self.instant, self.range, self.history = client.instant, client.range, client.history

    async def rules(self) -> list[Rule]:
        """Every rule that is loaded. Raises: PullError, StoreError."""
        bounds = await self._series.bounds()
        return as_evaluated(await self._client.rules(), bounds)
