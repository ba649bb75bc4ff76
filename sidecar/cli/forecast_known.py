"""Events and holidays of the configuration, in forecasts from the command line."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from sidecar.cli.forecast_questions import Source
from sidecar.config.model import Config
from sidecar.series import FloatArray, TimeArray

if TYPE_CHECKING:
    from sidecar.engine.forecast.series import SeriesForecast


def with_known(found: SeriesForecast, source: Source, config: Config) -> SeriesForecast:
    """The forecast, multiplied where an event with a stated uplift or a holiday lies ahead.

    Events that name watched queries do not count here: a series from the command line is none of them.
    """
    from sidecar.engine.known import KnownEvents

    known = KnownEvents("")
    known.announce(config.events, config.calendar)
    known.resize(1)
    times = np.concatenate([source.timestamps, found.timestamps])
    values = np.concatenate([source.values, found.yhat])

    def expect(at: TimeArray) -> FloatArray:
        nearest = np.clip(np.searchsorted(times, at), 0, len(times) - 1)
        return values[nearest][None, :]

    factors = known.factors((source.labels,), found.timestamps, expect)
    if factors is None:
        return found
    yhat = found.yhat * factors.centre[0]
    return replace(
        found,
        yhat=yhat,
        lower=np.minimum(found.lower * factors.least[0], yhat),
        upper=np.maximum(found.upper * factors.most[0], yhat),
    )
