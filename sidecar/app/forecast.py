"""Builds what forecasts are used for beside being exported."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from exporters.eta import EtaPage
from exporters.page import SyntheticPage
from exporters.risk import RiskPage
from sidecar.config.model import Config, QueryConfig
from sidecar.loop.clock import SourceClock
from sidecar.loop.forecast_budgets import Budgets
from sidecar.loop.forecast_rules import known_of
from sidecar.loop.forecast_thresholds import ThresholdLoop, ThresholdMetrics
from sidecar.offload import Offload
from sidecar.prometheus.client import PrometheusClient
from sidecar.series import SeriesBatch
from webhooks.risk.loop import RiskLoop
from webhooks.risk.signals import SignalRecorder

if TYPE_CHECKING:
    from sidecar.app.process import Sidecar

TREND_STEP_SECONDS = 3600.0


def threshold_loop(
    config: Config,
    *,
    client: PrometheusClient,
    page: SyntheticPage,
    offload: Offload,
    clock: SourceClock,
    metrics: ThresholdMetrics,
    queries: Callable[[], Sequence[QueryConfig]],
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
        known_of=lambda measured: known_of(measured, queries(), config.events, config.calendar),
    )


def risk_loop(config: Config, sidecar: Sidecar, thresholds: ThresholdLoop) -> RiskLoop:
    """The loop that tells how likely incidents are, from what the other loops know."""
    recorder = SignalRecorder(
        changes=lambda: sidecar.alerts.placing.analyst.evidence.changes(), etas=lambda: thresholds.etas
    )
    return RiskLoop(
        config.forecast.risk,
        store=sidecar.store,
        recorder=recorder,
        sink=RiskPage(sidecar.page),
        bus=sidecar.bus,
        offload=sidecar.offload,
        metrics=sidecar.risk_metrics,
        now=sidecar.wall,
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

    def risks(self, limit: int) -> Mapping[str, Any]:
        """How likely incidents are, or why that is not known; and how past predictions did."""
        loop = self._sidecar.workings.risk
        learnt = loop.learnt
        return {
            "silent": "nothing was learnt yet" if learnt is None else learnt.silent,
            "with_signals": learnt is not None and learnt.with_signals,
            "trials": [] if learnt is None else [asdict(trial) for trial in learnt.trials],
            "risks": [asdict(risk) for risk in loop.risks[:limit]],
        }

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
