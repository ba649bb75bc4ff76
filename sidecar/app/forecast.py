"""Builds what forecasts are used for beside being exported."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from exporters.eta import EtaPage
from exporters.page import SyntheticPage
from exporters.risk import RiskPage
from sidecar.app.ground import Ground
from sidecar.app.joined_rules import JoinedRules
from sidecar.config.model import Config, QueryConfig
from sidecar.loop.clock import SourceClock
from sidecar.loop.forecast_budgets import Budgets
from sidecar.loop.forecast_rules import About, Measured, known_of
from sidecar.loop.forecast_thresholds import ThresholdLoop, ThresholdMetrics
from sidecar.offload import Offload
from sidecar.prometheus.client import PrometheusClient
from webhooks.pipeline import AlertsLoop
from webhooks.risk.loop import RiskLoop, RiskMetrics
from webhooks.risk.signals import SignalRecorder


def threshold_loop(
    config: Config,
    *,
    client: PrometheusClient,
    rules: JoinedRules,
    page: SyntheticPage,
    offload: Offload,
    clock: SourceClock,
    metrics: ThresholdMetrics,
    queries: Callable[[], Sequence[QueryConfig]],
) -> ThresholdLoop:
    """The loop that forecasts the thresholds of existing alert rules, and the budgets of objectives."""
    settings = config.forecast.thresholds

    def known(measured: Measured) -> About:
        return known_of(measured, queries(), config.events, config.calendar)

    budgets = Budgets(
        config.slo,
        source=client,
        offload=offload,
        clock=clock,
        horizon_seconds=settings.horizon,
        probabilities=settings.probabilities,
        known_of=known,
    )
    return ThresholdLoop(
        settings,
        source=rules,
        sink=EtaPage(page),
        offload=offload,
        clock=clock,
        metrics=metrics,
        directory=config.store.directory / "thresholds",
        budgets=budgets,
        known_of=known,
    )


def risk_loop(
    config: Config, ground: Ground, alerts: AlertsLoop, thresholds: ThresholdLoop, metrics: RiskMetrics
) -> RiskLoop:
    """The loop that tells how likely incidents are, from what the other loops know."""
    recorder = SignalRecorder(
        changes=lambda: alerts.placing.analyst.evidence.changes(), etas=lambda: thresholds.etas
    )
    return RiskLoop(
        config.forecast.risk,
        store=ground.store,
        recorder=recorder,
        sink=RiskPage(ground.page),
        bus=ground.bus,
        offload=ground.offload,
        metrics=metrics,
        now=ground.wall,
    )
