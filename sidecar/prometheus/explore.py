"""prometheus-api-client for people: notebooks and one-off looks, as pandas frames.

The sidecar itself does not pull this way (see tests/benchmarks/bench_pull.py for
the difference); here convenience counts.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from sidecar.config.model import SourceConfig

if TYPE_CHECKING:
    from prometheus_api_client import MetricRangeDataFrame, PrometheusConnect


def connect(config: SourceConfig) -> PrometheusConnect:
    """A prometheus-api-client connection with the configuration's credentials and tenant."""
    from prometheus_api_client import PrometheusConnect

    from sidecar.config.load import read_secret

    headers = dict(config.http.headers)
    if config.tenant:
        headers["X-Scope-OrgID"] = config.tenant
    token = read_secret(config.http.bearer_token, config.http.bearer_token_file)
    if token:
        headers["Authorization"] = f"Bearer {token}"
    basic = config.http.basic_auth
    auth = (basic.username, read_secret(basic.password, basic.password_file)) if basic else None
    return PrometheusConnect(url=config.url, headers=headers, auth=auth)


def range_frame(
    config: SourceConfig, expr: str, *, start_seconds: float, end_seconds: float, step_seconds: float
) -> MetricRangeDataFrame:
    """The answer of a range query as a frame: one row a sample, indexed by time, labels as columns.

    >>> range_frame(SourceConfig(), "up", start_seconds=0, end_seconds=60,
    ...             step_seconds=15)  # doctest: +SKIP
    """
    from prometheus_api_client import MetricRangeDataFrame

    data = connect(config).custom_query_range(
        expr,
        start_time=datetime.fromtimestamp(start_seconds, UTC),
        end_time=datetime.fromtimestamp(end_seconds, UTC),
        step=f"{step_seconds:g}s",
    )
    return MetricRangeDataFrame(data)
