"""Builds what forecasts are used for beside being exported."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from exporters.eta import EtaPage
from exporters.page import SyntheticPage
from sidecar.config.model import Config
from sidecar.loop.clock import SourceClock
from sidecar.loop.forecast_budgets import Budgets
from sidecar.loop.forecast_thresholds import ThresholdLoop, ThresholdMetrics
from sidecar.offload import Offload
from sidecar.prometheus.client import PrometheusClient
from sidecar.series import SeriesBatch

if TYPE_CHECKING:
    from sidecar.app import Sidecar

TREND_STEP_SECONDS = 3600.0


def threshold_loop(
    config: Config,
    *,
    client: PrometheusClient,
    page: SyntheticPage,
    offload: Offload,
    clock: SourceClock,
    metrics: ThresholdMetrics,
) -> ThresholdLoop:
    """The loop that forecasts the thresholds of existing alert rules, and the budgets of objectives."""
    settings = config.forecast.thresholds
    budgets = Budgets(
        config.slo,
        source=client,
        offload=offload,
        clock=clock,
        horizon_seconds=settings.horizon,
        probabilities=settings.probabilities,
    )
    return ThresholdLoop(
        settings,
        source=client,
        sink=EtaPage(page),
        offload=offload,
        clock=clock,
        metrics=metrics,
        directory=config.store.directory / "thresholds",
        budgets=budgets,
    )


class SidecarOutlook:
    """What the API tells of the time ahead; see `api.outlook.Outlook`."""

    def __init__(self, sidecar: Sidecar) -> None:
        self._sidecar = sidecar

    def thresholds(self, limit: int) -> Sequence[Mapping[str, Any]]:
        """Times until thresholds, the nearest first."""
        etas = sorted(self._sidecar.workings.thresholds.etas, key=lambda eta: eta.seconds)
        return [
            {
                "rule": eta.rule,
                "threshold": eta.threshold,
                "labels": dict(eta.labels),
                "probability": eta.probability,
                "seconds": eta.seconds,
            }
            for eta in etas[:limit]
        ]

    async def trends(self, query: str, days: int) -> Sequence[Mapping[str, Any]]:
        """The trend of each series of a watched query, from its history by the hour."""
        workings = self._sidecar.workings
        watched = {watch.query.name: watch.query for watch in workings.metrics_loop.watches}[query]
        end_ms = workings.clock.last_step_ms(TREND_STEP_SECONDS, watched.offset)
        batch = await workings.client.history(
            watched.expr,
            start_ms=end_ms - days * 86_400_000,
            end_ms=end_ms,
            step_ms=round(TREND_STEP_SECONDS * 1000),
            name=query,
            max_series=watched.max_series or workings.config.prometheus.max_series_per_query,
        )
        return await self._sidecar.offload.run(_trends, batch)


def _trends(batch: SeriesBatch) -> list[dict[str, Any]]:
    from sidecar.engine.trends import trends

    return [trend.document() for trend in trends(batch)]
