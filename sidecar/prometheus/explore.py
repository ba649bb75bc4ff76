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
from sidecar.telemetry import redact_url

if TYPE_CHECKING:
    import pandas as pd
    import requests
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
        raise _failure(error, redact_url(config.url)) from error
    except PrometheusApiClientException as error:
        words = f"{redact_url(config.url)}: {_words(str(error))}"
        raise PullError(PullReason.BAD_QUERY, words) from error
    except (KeyError, TypeError) as error:
        raise _not_an_answer(config.url) from error
    if isinstance(data, list) and len(data) > max_series:
        raise TooManySeries("explore", len(data), max_series)
    with warnings.catch_warnings():
        # 0.7 still uses what pandas 3 will drop.
        warnings.filterwarnings("ignore", message="The inplace keyword")
        try:
            return MetricRangeDataFrame(data, columns=None if data else ("timestamp", "value"))
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            raise _not_an_answer(config.url) from error


def _failure(error: requests.RequestException, url: str) -> PullError:
    """What of the transport went wrong, in words: the library's own name classes of other libraries."""
    import requests

    if isinstance(error, requests.Timeout):
        words = f"{url}: no answer within {TIMEOUT_SECONDS} s"
        return PullError(PullReason.TIMEOUT, words, retryable=True)
    if isinstance(error, requests.JSONDecodeError):
        return _not_an_answer(url)
    if isinstance(error, requests.TooManyRedirects):
        return PullError(PullReason.BAD_QUERY, f"{url}: redirects without end")
    if "Connection refused" in str(error):
        words = "connection refused"
    else:
        words = f"{type(error).__name__}: {redact_url(str(error))[:300]}"
    return PullError(PullReason.UNREACHABLE, f"{url}: {words}", retryable=True)


def _not_an_answer(url: str) -> PullError:
    return PullError(PullReason.BAD_RESPONSE, f"{redact_url(url)}: not an answer of the query API")


def _words(text: str) -> str:
    """The server's own words in what the library says: `HTTP Status Code 400 (b'{"error": …}')`."""
    found = re.fullmatch(r"HTTP Status Code (\d+) \((b['\"].*['\"])\)", text, re.DOTALL)
    if not found:
        return " ".join(text.split())[:500]
    status = found[1]
    try:
        body = ast.literal_eval(found[2])
    except (ValueError, SyntaxError):
        return status
    try:
        said = str(json.loads(body)["error"])
    except (ValueError, LookupError, TypeError):
        said = body.decode(errors="replace")
    return f"{status} {''.join(filter(str.isprintable, ' '.join(said.split())))[:300]}"
