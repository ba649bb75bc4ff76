"""Builds the trial that a challenger of a query's model stands."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sidecar.config.model import Config, QueryConfig
from sidecar.loop.trial import Trial

if TYPE_CHECKING:
    from sidecar.app.process import Sidecar


def trial_of(query: QueryConfig, config: Config, sidecar: Sidecar) -> Trial:
    """The query's trial, exporting to the scrape page and learning of drift from the data's quality."""
    return Trial(
        query,
        config.models,
        directory=config.store.directory / "models",
        offload=sidecar.offload,
        bus=sidecar.bus,
        metrics=sidecar.trial_metrics,
        shown=[sidecar.page],
        drifting=sidecar.explaining.drifting,
        now=sidecar.wall,
    )
