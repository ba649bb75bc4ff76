"""Events and holidays of the configuration, in forecasts from the command line."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from sidecar.cli.forecast_questions import Source
from sidecar.config.model import Config

if TYPE_CHECKING:
    from sidecar.engine.forecast.series import SeriesForecast
    from sidecar.engine.known_history import KnownSeries


def known_of(source: Source, config: Config) -> KnownSeries:
    """What the configuration says of a series.

    Events that name watched queries do not count here: a series from the command line is none of them.
    """
    from sidecar.engine.known_history import KnownSeries

    return KnownSeries(source.labels, config.events, config.calendar)


def with_known(found: SeriesForecast, source: Source, known: KnownSeries) -> SeriesForecast:
    """The forecast, multiplied where an event or a holiday lies ahead."""
    factors = known.ahead(source.timestamps, source.values, found.timestamps)
    if factors is None:
        return found
    yhat = found.yhat * factors.centre[0]
    return replace(
        found,
        yhat=yhat,
        lower=np.minimum(found.lower * factors.least[0], yhat),
        upper=np.maximum(found.upper * factors.most[0], yhat),
    )
