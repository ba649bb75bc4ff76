"""A client of Prometheus' HTTP API that answers with arrays.

What speaks this API (Thanos, Mimir, VictoriaMetrics) works as well. Recurring
pulls go through JSON scanned into arrays (`scan.py`), history of plain selectors
through remote read where the server offers it (`remote_read.py`).
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Any, Self, TypeVar

import msgspec
import numpy as np

from sidecar.config.model import SourceConfig
from sidecar.errors import PullError, PullReason, TooManySeries
from sidecar.prometheus import answers
from sidecar.prometheus.portions import Portions
from sidecar.prometheus.raw_terms import RawTerms, raw_terms
from sidecar.prometheus.selector import plain_matchers, selector_of
from sidecar.prometheus.session import PullMetrics, Session, SessionSettings
from sidecar.series import LabelSet, SeriesBatch, TimeArray
from sidecar.telemetry import get_logger

T = TypeVar("T")
TERMS_SECONDS = 300.0
"""How long a server's terms of remote read are believed: a reload can change its external labels."""


class PrometheusClient:
    """One source of series. Use as `async with PrometheusClient(...) as client`."""

    def __init__(
        self,
        config: SourceConfig,
        *,
        metrics: PullMetrics,
        on_server_time: Callable[[float], None] = lambda _: None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._config = config
        self._metrics = metrics
        self._log = get_logger("prometheus")
        settings = SessionSettings(
            url=config.url,
            http=config.http,
            timeout_seconds=config.timeout,
            retries=config.retries,
            max_concurrent=config.max_concurrent_queries,
            breaker_failures=config.breaker_failures,
            breaker_cooldown_seconds=config.breaker_cooldown,
            compression=config.compression,
            tenant=config.tenant,
            max_answer_bytes=config.max_answer_bytes,
            if_larger="ask for fewer series or a longer step, or raise prometheus.max_answer_bytes",
        )
        self._session = Session(settings, metrics, on_server_time=on_server_time, monotonic=monotonic)
        self._evaluator, self._sessions = self._session, [self._session]
        if config.evaluator is not None:
            of_rules = replace(settings, url=config.evaluator.url, http=config.evaluator.http)
            self._evaluator = Session(of_rules, metrics, monotonic=monotonic)
            self._sessions.append(self._evaluator)
        self._cache: Any = None
        self._monotonic = monotonic
        self._remote_read = config.remote_read == "auto"
        self._terms: RawTerms | None = None
        self._terms_until = -1.0
        self._get_only = False
        self._portions = Portions()

    async def __aenter__(self) -> Self:
        for session in self._sessions:
            await session.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for session in self._sessions:
            await session.__aexit__(kind, error, trace)

    async def instant(self, expr: str, *, at_ms: int, name: str, max_series: int) -> SeriesBatch:
        """The value of each series at one instant, shape (N, 1).

        Raises: PullError, TooManySeries.
        """
        form = [("query", expr), ("time", _seconds(at_ms)), ("timeout", f"{self._config.timeout:g}s")]
        body = await self._query("/api/v1/query", form, api="query")
        return await self._decode(body, np.array([at_ms], dtype=np.int64), 1000, name, max_series)

    async def range(
        self, expr: str, *, start_ms: int, end_ms: int, step_ms: int, name: str, max_series: int
    ) -> SeriesBatch:
        """Values at the multiples of `step_ms` within [start, end], shape (N, T).

        The grid does not depend on the start, so re-evaluations agree. Ranges
        of more than 11,000 steps are asked for in parts, one after another, and
        in smaller ones where the server finds that too much.

        Raises: PullError, TooManySeries.
        """
        times = _grid(start_ms, end_ms, step_ms)
        parts: list[SeriesBatch] = []
        n_done, n_steps = 0, self._portions.begin()
        while n_done < len(times):
            part = times[n_done : n_done + n_steps]
            try:
                parts.append(await self._part(expr, part, step_ms, name, max_series))
            except PullError as error:
                fewer = self._portions.less(len(part), error)
                if fewer is None:
                    raise
                self._log.info(
                    "range too much at once, asking for less", query=name, steps=fewer, err=str(error)
                )
                n_steps = fewer
            else:
                n_done += len(part)
        return joined(parts, name, max_series) if parts else SeriesBatch(name, (), times, np.zeros((0, 0)))

    async def _part(
        self, expr: str, times: TimeArray, step_ms: int, name: str, max_series: int
    ) -> SeriesBatch:
        form = [
            ("query", expr),
            ("start", _seconds(int(times[0]))),
            ("end", _seconds(int(times[-1]))),
            ("step", _seconds(step_ms)),
            ("timeout", f"{self._config.timeout:g}s"),
        ]
        hopeless = self._portions.hopeless(len(times))
        body = await self._query("/api/v1/query_range", form, api="query_range", unless=hopeless)
        return await self._decode(body, times, step_ms, name, max_series)

    async def history(
        self, expr: str, *, start_ms: int, end_ms: int, step_ms: int, name: str, max_series: int
    ) -> SeriesBatch:
        """As `range`, through remote read where the expression and the server allow it.

        Raises: PullError, TooManySeries.
        """
        times = _grid(start_ms, end_ms, step_ms)
        matchers = plain_matchers(expr) if len(times) and self._remote_read else None
        terms = await self._terms_for(matchers, times) if matchers else None
        if matchers and terms:
            try:
                return await self.remote_read(matchers, times, terms, name=name, max_series=max_series)
            except PullError as error:
                if error.reason in (PullReason.TOO_MANY_SERIES, PullReason.CIRCUIT_OPEN):
                    raise
                self._log.warning("remote read gave up, asking by JSON", query=name, err=str(error))
                # A server that is busy or sent too much may do better next time; one that cannot, never will.
                self._remote_read = error.retryable or error.reason == PullReason.TOO_LARGE
        return await self.range(
            expr, start_ms=start_ms, end_ms=end_ms, step_ms=step_ms, name=name, max_series=max_series
        )

    async def remote_read(
        self,
        matchers: Sequence[tuple[str, str, str]],
        times: TimeArray,
        terms: RawTerms,
        *,
        name: str,
        max_series: int,
    ) -> SeriesBatch:
        """Raw samples of the matched series, put on the grid `times` as instant queries would see them.

        Raises: PullError, TooManySeries.
        """
        # protobuf, snappy and the decoder are imported by the first who needs them.
        from sidecar.prometheus import remote_read as wire

        body = wire.request_body(matchers, int(times[0]) - terms.lookback_ms, int(times[-1]))
        collected = wire.Collected(name, max_series, terms)
        with self._metrics.counting_errors():
            async with self._session.stream(
                "POST", "/api/v1/read", api="read", body=body, headers=wire.REQUEST_HEADERS
            ) as response:
                if "streamed-protobuf" not in response.headers.get("Content-Type", ""):
                    raise PullError(PullReason.BAD_RESPONSE, "the server does not stream remote read")
                async for frame in wire.frames(self._session.pieces(response)):
                    self._metrics.bytes.inc(len(frame))
                    collected.add(frame)
            decoded = await asyncio.to_thread(collected.decode, times)
        return self._batch(decoded, times, name)

    async def series(self, matches: Sequence[str], *, start_ms: int, end_ms: int) -> list[LabelSet]:
        """Label sets of the series that match any of the selectors in the time range."""
        form = [("match[]", match) for match in matches]
        form += [("start", _seconds(start_ms)), ("end", _seconds(end_ms))]
        body = await self._query("/api/v1/series", form, api="series")
        return [LabelSet(labels) for labels in self._parsed(body, answers.label_maps_of)]

    async def label_values(self, label: str) -> list[str]:
        """All values of a label."""
        return await self._get(f"/api/v1/label/{label}/values", answers.texts_of, api="label_values")

    async def label_names(self, *, start_ms: int, end_ms: int) -> list[str]:
        """Names of the labels that series have in the time range, to the length of a block."""
        between = [("start", _seconds(start_ms)), ("end", _seconds(end_ms))]
        return await self._get("/api/v1/labels", answers.texts_of, api="labels", params=between)

    async def metadata(self) -> list[answers.Metadata]:
        """Type, help and unit of every metric that a target told of."""
        return await self._get("/api/v1/metadata", answers.metadata_of, api="metadata")

    async def rules(self) -> list[answers.Rule]:
        """Every rule the evaluator has loaded, without its alerts: in a storm they are tens of megabytes."""
        without = [("exclude_alerts", "true")]  # Known to newer servers; older ones pass over it.
        body = await self._evaluator.fetch("GET", "/api/v1/rules", api="rules", params=without)
        return self._parsed(body, answers.rules_of)

    async def targets(self) -> list[answers.Target]:
        """The active scrape targets."""
        active = [("state", "active")]
        return await self._get("/api/v1/targets", answers.targets_of, api="targets", params=active)

    async def cost(self, expr: str, *, at_ms: int) -> answers.QueryCost:
        """What one evaluation of an expression takes the server. Raises: PullError."""
        form = [("query", expr), ("time", _seconds(at_ms)), ("stats", "all")]
        return self._parsed(await self._query("/api/v1/query", form, api="query"), answers.query_cost_of)

    async def build_info(self) -> answers.BuildInfo:
        """Version of the server."""
        return await self._get("/api/v1/status/buildinfo", answers.build_info_of, api="buildinfo")

    async def healthy(self) -> bool:
        """True if the server says so now (GET /-/healthy)."""
        try:
            await self._session.fetch("GET", "/-/healthy", api="healthy", retry=False)
        except PullError:
            return False
        return True

    async def reload(self) -> None:
        """Make the evaluator read its configuration and rules again (POST /-/reload).

        Raises: PullError with the server's words; BAD_QUERY where the lifecycle API is off.
        """
        await self._evaluator.fetch("POST", "/-/reload", api="reload", retry=False)

    async def _query(
        self,
        path: str,
        form: list[tuple[str, str]],
        *,
        api: str,
        unless: Callable[[PullError], bool] = lambda _: False,
    ) -> bytes:
        if not self._get_only:
            try:
                return await self._session.fetch("POST", path, api=api, form=form, unless=unless)
            except PullError as error:
                if f"{path}: 405" not in str(error):
                    raise
                self._get_only = True  # Some proxies in front of Prometheus let only GET through.
        return await self._session.fetch("GET", path, api=api, params=form, unless=unless)

    async def _get(
        self,
        path: str,
        parse: Callable[[bytes], T],
        *,
        api: str,
        params: list[tuple[str, str]] | None = None,
        offered: bool = True,
    ) -> T:
        body = await self._session.fetch("GET", path, api=api, params=params, offered=offered)
        return self._parsed(body, parse)

    def _parsed(self, body: bytes, parse: Callable[[bytes], T]) -> T:
        with self._metrics.counting_errors():
            try:
                answer = msgspec.json.decode(body, type=_Envelope)
                if answer.status == "success":
                    return parse(bytes(answer.data))
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                start = body[:80].decode(errors="replace")
                raise PullError(
                    PullReason.BAD_RESPONSE, f"not an answer of the API ({error}): {start!r}"
                ) from error
            raise PullError(PullReason.BAD_QUERY, answer.error[:300])

    async def _decode(
        self, body: bytes, times: TimeArray, step_ms: int, name: str, max_series: int
    ) -> SeriesBatch:
        with self._metrics.counting_errors():
            decoded = await asyncio.to_thread(self._scan, body, times, step_ms, name, max_series)
        return self._batch(decoded, times, name)

    def _scan(self, body: bytes, times: TimeArray, step_ms: int, name: str, max_series: int) -> Any:
        # Imported in this worker thread: numba is half a second that a start must not wait for.
        from sidecar.prometheus import scan

        if self._cache is None:
            self._cache = scan.LabelCache()
        return scan.decode(
            body,
            start_ms=int(times[0]),
            step_ms=step_ms,
            n_steps=len(times),
            name=name,
            max_series=max_series,
            cache=self._cache,
        )

    def _batch(self, decoded: Any, times: TimeArray, name: str) -> SeriesBatch:
        self._metrics.samples.inc(decoded.n_samples)
        self._metrics.dropped.labels("infinite").inc(decoded.n_infinite)
        self._metrics.dropped.labels("histogram").inc(decoded.n_histograms)
        return SeriesBatch(name, decoded.labels, times, decoded.values, decoded.warnings)

    async def external_labels(self) -> Mapping[str, str]:
        """The labels that the server adds to what it sends elsewhere; none where it does not tell.

        Raises: PullError.
        """
        terms = await self._known_terms()
        return terms.external if terms is not None else {}

    async def _known_terms(self) -> RawTerms | None:
        if self._monotonic() >= self._terms_until:
            self._terms = await self._ask_terms()
            # What is no Prometheus does not become one.
            lasts = TERMS_SECONDS if self._terms is not None else math.inf
            self._terms_until = self._monotonic() + lasts
        return self._terms

    async def _terms_for(self, matchers: Sequence[tuple[str, str, str]], times: TimeArray) -> RawTerms | None:
        """The terms of remote read; None where its answer could differ from a range query's."""
        terms = await self._known_terms()
        if terms is None or not terms.allow(matchers):
            return None
        # A series which has such a label of its own comes out like one to which it was added.
        own = [selector_of([*matchers, (name, "=", value)]) for name, value in terms.external.items()]
        start_ms, end_ms = int(times[0]) - terms.lookback_ms, int(times[-1])
        if own and await self.series(own, start_ms=start_ms, end_ms=end_ms):
            return None
        return terms

    async def settings_told(self) -> tuple[str, dict[str, str]]:
        """The configuration (YAML) and flags that it runs by. Raises: PullError where it tells neither."""
        config = await self._get("/api/v1/status/config", answers.config_of, api="config", offered=False)
        return config, await self._get("/api/v1/status/flags", answers.flags_of, api="flags", offered=False)

    async def _ask_terms(self) -> RawTerms | None:
        """None where the server does not tell them: Thanos, VictoriaMetrics, a proxy that hides status."""
        try:
            config, flags = await self.settings_told()
            version = (await self.build_info()).version
        except PullError as error:
            if error.retryable:
                raise
            return None
        return raw_terms(config, flags, version)


class _Envelope(msgspec.Struct):
    status: str
    data: msgspec.Raw = msgspec.Raw(b"null")
    error: str = ""


def joined(parts: Sequence[SeriesBatch], name: str, max_series: int) -> SeriesBatch:
    """Consecutive parts of one range as one batch; NaN where a series is not in a part.

    Raises: TooManySeries where the parts together hold more than the bound.
    """
    if len(parts) == 1:
        return parts[0]
    rows: dict[LabelSet, int] = {}
    for part in parts:
        for labels in part.labels:
            rows.setdefault(labels, len(rows))
    if len(rows) > max_series:
        raise TooManySeries(name, len(rows), max_series)
    times = np.concatenate([part.timestamps for part in parts])
    values = np.full((len(rows), len(times)), np.nan)
    first = 0
    for part in parts:
        where = np.fromiter((rows[labels] for labels in part.labels), dtype=np.int64, count=part.n_series)
        values[where, first : first + part.n_steps] = part.values
        first += part.n_steps
    warnings = tuple(dict.fromkeys(warning for part in parts for warning in part.warnings))
    return SeriesBatch(name, tuple(rows), times, values, warnings)


def _grid(start_ms: int, end_ms: int, step_ms: int) -> TimeArray:
    first = -(-start_ms // step_ms) * step_ms
    return np.arange(first, end_ms // step_ms * step_ms + 1, step_ms, dtype=np.int64)


def _seconds(milliseconds: int) -> str:
    return f"{milliseconds // 1000}.{milliseconds % 1000:03d}"
