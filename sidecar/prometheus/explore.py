"""prometheus-api-client for people: one-off looks at a query as pandas frames.

The sidecar itself does not pull this way (see tests/benchmarks/bench_pull.py for
the difference); here convenience counts.
"""

from __future__ import annotations

import ast
import json
import re
import warnings
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from sidecar.config.model import SourceConfig
from sidecar.errors import PullError, PullReason, TooManySeries

if TYPE_CHECKING:
    import pandas as pd
    from prometheus_api_client import PrometheusConnect

TIMEOUT_SECONDS = 60


def connect(config: SourceConfig) -> PrometheusConnect:
    """A prometheus-api-client connection with the configuration's credentials, certificates and tenant."""
    from prometheus_api_client import PrometheusConnect

    from sidecar.config.load import read_secret

    headers = dict(config.http.headers)
    if config.tenant:
        headers["X-Scope-OrgID"] = config.tenant
    token = read_secret(config.http.bearer_token, config.http.bearer_token_file)
    if token:
        headers["Authorization"] = f"Bearer {token}"
    basic, tls = config.http.basic_auth, config.http.tls
    auth = (basic.username, read_secret(basic.password, basic.password_file)) if basic else None
    connection = PrometheusConnect(
        url=config.url.rstrip("/"),
        headers=headers,
        auth=auth,
        disable_ssl=tls.insecure_skip_verify,
        retry=0,
        timeout=TIMEOUT_SECONDS,
    )
    if tls.ca_file and not tls.insecure_skip_verify:
        connection._session.verify = str(tls.ca_file)
    if tls.cert_file:
        connection._session.cert = (str(tls.cert_file), str(tls.key_file))
    return connection


def range_frame(
    config: SourceConfig,
    expr: str,
    *,
    start_seconds: float,
    end_seconds: float,
    step_seconds: float,
    max_series: int,
) -> pd.DataFrame:
    """The answer of a range query as a frame: one row a sample, by time (UTC), labels and `value` as columns.

    Raises: PullError, TooManySeries.
    """
    import requests
    from prometheus_api_client import MetricRangeDataFrame
    from prometheus_api_client.exceptions import PrometheusApiClientException

    try:
        data = connect(config).custom_query_range(
            expr,
            start_time=datetime.fromtimestamp(start_seconds, UTC),
            end_time=datetime.fromtimestamp(end_seconds, UTC),
            step=f"{step_seconds:g}s",
        )
    except requests.RequestException as error:
        reason = PullReason.TIMEOUT if isinstance(error, requests.Timeout) else PullReason.UNREACHABLE
        raise PullError(reason, f"{config.url}: {type(error).__name__}", retryable=True) from error
    except PrometheusApiClientException as error:
        raise PullError(PullReason.BAD_QUERY, f"{config.url}: {_words(str(error))}") from error
    if len(data) > max_series:
        raise TooManySeries("explore", len(data), max_series)
    with warnings.catch_warnings():
        # 0.7 still uses what pandas 3 will drop.
        warnings.filterwarnings("ignore", message="The inplace keyword")
        return MetricRangeDataFrame(data, columns=None if data else ("timestamp", "value"))


def _words(text: str) -> str:
    """The server's own words in what the library says: `HTTP Status Code 400 (b'{"error": …}')`."""
    found = re.search(r"\((b['\"].*['\"])\)$", text, re.DOTALL)
    try:
        return str(json.loads(ast.literal_eval(found[1]))["error"]) if found else text
    except (ValueError, SyntaxError, KeyError, TypeError):
        return " ".join(text.split())[:500]
