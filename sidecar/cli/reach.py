"""A Prometheus that a command may ask long questions: one that has answered a short one in time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from sidecar.config.model import SourceConfig

if TYPE_CHECKING:
    from sidecar.prometheus.client import PrometheusClient
    from sidecar.prometheus.session import PullMetrics

PATIENCE_SECONDS = 10.0
"""Somebody waits at a terminal. The sidecar itself, and long questions, wait as configured, and try again."""


@asynccontextmanager
async def within_reach(
    source: SourceConfig, *, on_server_time: Callable[[float], None] = lambda _: None
) -> AsyncIterator[PrometheusClient]:
    """A client of the server, which was there a moment ago; `on_server_time` is given its clock.

    Raises: PullError where it was not.
    """
    from prometheus_client import CollectorRegistry

    from sidecar.errors import PullError, PullReason
    from sidecar.prometheus.client import PrometheusClient
    from sidecar.prometheus.session import PullMetrics

    metrics = PullMetrics(CollectorRegistry())
    hurried = source.model_copy(update={"timeout": min(PATIENCE_SECONDS, source.timeout), "retries": 0})
    try:
        async with PrometheusClient(hurried, metrics=metrics, on_server_time=on_server_time) as client:
            await client.instant("vector(1)", at_ms=0, name="reach", max_series=10)
    except PullError as error:
        # What refuses this question has no such API.
        if error.reason not in (PullReason.BAD_QUERY, PullReason.BAD_RESPONSE):
            raise
        raise PullError(PullReason(error.reason), f"{error}; {await _what_else(hurried, metrics)}") from error
    async with PrometheusClient(source, metrics=metrics, on_server_time=on_server_time) as client:
        yield client


async def _what_else(source: SourceConfig, metrics: PullMetrics) -> str:
    """What a server may be that answers, and not as Prometheus does."""
    from sidecar.config.model import AlertmanagerConfig
    from sidecar.errors import PullError
    from sidecar.prometheus.alertmanager import AlertmanagerClient

    config = AlertmanagerConfig(url=source.url, http=source.http, timeout=source.timeout)
    try:
        async with AlertmanagerClient(config, metrics=metrics) as client:
            told = await client.status()
    except PullError:
        told = {}
    if "versionInfo" in told:
        return "that is an Alertmanager: give it as --alertmanager, and Prometheus as --prometheus"
    return "that is no Prometheus, or its API is below another path (http://host:9090/prometheus)"


async def look(source: SourceConfig) -> None:
    """Only whether it answers. Raises: PullError where it does not."""
    async with within_reach(source):
        return
