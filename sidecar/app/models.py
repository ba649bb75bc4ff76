"""Builds the trial that a challenger of a query's model stands."""

from __future__ import annotations

from collections.abc import Callable

from sidecar.app.ground import Ground
from sidecar.config.model import Config, QueryConfig
from sidecar.loop.trial import Trial, TrialMetrics


def trial_of(
    query: QueryConfig,
    config: Config,
    ground: Ground,
    *,
    metrics: TrialMetrics,
    drifting: Callable[[str], float],
) -> Trial:
    """The query's trial, exporting to the scrape page and learning of drift from the data's quality."""
    return Trial(
        query,
        config.models,
        directory=config.store.directory / "models",
        offload=ground.offload,
        bus=ground.bus,
        metrics=metrics,
        shown=[ground.page],
        drifting=drifting,
        now=ground.wall,
    )
