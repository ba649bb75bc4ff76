"""What `pronoia doctor` finds in what a server tells of now, and in the last day of a configured query."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from sidecar.errors import PullError

if TYPE_CHECKING:
    from sidecar.config.model import Config, QueryConfig
    from sidecar.engine.quality import Finding
    from sidecar.prometheus.client import PrometheusClient
    from sidecar.series import SeriesBatch

DAY_SECONDS = 86400.0
MOST_POINTS = 2_000_000
"""At most so many points of a query are read: the newest."""

UNTOLD = ("young", "flat")
"""A day cannot say how long series have been there; and that nothing failed on it is no fault of the data."""


class Instants(Protocol):
    """What answers for one instant."""

    async def instant(self, expr: str, *, at_ms: int, name: str, max_series: int) -> SeriesBatch:
        """The value of each series then."""
        ...


async def held_back_seconds(client: Instants, now_seconds: float) -> float:
    """For how long the server keeps new samples to itself, and tells older ones as if they were of now.

    VictoriaMetrics does so for half a minute; its `time()` tells which time it has looked at.
    Raises: PullError.
    """
    at_ms = int(now_seconds * 1000)
    told = await client.instant("time()", at_ms=at_ms, name="doctor", max_series=10)
    return max(at_ms / 1000 - float(told.values[0, -1]), 0.0) if told.values.size else 0.0


async def examine_data(
    client: PrometheusClient, query: QueryConfig, config: Config, now_seconds: float
) -> tuple[Finding, ...]:
    """What makes the query's data hard to judge; that it cannot be had is a finding as well.

    `now_seconds`: on the source's clock.
    """
    from sidecar.engine.quality import DataQuality, Finding

    end_ms = round(now_seconds * 1000)
    most = query.max_series or config.prometheus.max_series_per_query
    try:
        now = await client.instant(query.expr, at_ms=end_ms, name=query.name, max_series=most)
        steps = min(DAY_SECONDS / query.step, MOST_POINTS / max(now.n_series, 1))
        day = await client.range(
            query.expr,
            start_ms=end_ms - round(steps * query.step * 1000),
            end_ms=end_ms,
            step_ms=round(query.step * 1000),
            name=query.name,
            max_series=most * 4,
        )
    except PullError as error:
        return (Finding("error", 1.0, str(error), "check the expression on your Prometheus"),)
    quality = DataQuality(query.step)
    quality.resize(day.n_series)
    quality.observe(day.values)
    return tuple(one for one in quality.assess(max_series=most).findings if one.kind not in UNTOLD)
