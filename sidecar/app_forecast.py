"""Builds what forecasts are used for beside being exported."""

from __future__ import annotations

from exporters.eta import EtaPage
from exporters.page import SyntheticPage
from sidecar.config.model import Config
from sidecar.loop.clock import SourceClock
from sidecar.loop.forecast_budgets import Budgets
from sidecar.loop.forecast_thresholds import ThresholdLoop, ThresholdMetrics
from sidecar.offload import Offload
from sidecar.prometheus.client import PrometheusClient


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
