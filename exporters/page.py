"""The scrape page: each evaluation is rendered once, every scrape reuses the bytes.

Samples carry no timestamps: only then does Prometheus mark a series stale at
the first scrape that misses it (docs/decisions/0004).
"""

from __future__ import annotations

import gzip
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry, Gauge, Histogram

from exporters import names
from exporters.labels import label_text
from sidecar.config.fields import format_duration
from sidecar.series import Evaluation, FloatArray, LabelSet

STALE_SECONDS = 300.0
"""A query whose evaluations stop leaves the page after this, or after three steps if those are longer."""

TEXT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS_TYPE = "application/openmetrics-text; version=1.0.0; charset=utf-8"


class ExportMetrics:
    """What the scrape page tells of itself."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.series = Gauge("pronoia_export_series", "Lines on the synthetic page.", registry=registry)
        self.bytes = Gauge(
            "pronoia_export_page_bytes", "Size of the synthetic page, not compressed.", registry=registry
        )
        self.dropped = Gauge(
            "pronoia_export_dropped_series",
            "Series of a query that are left off the page because of export.max_series.",
            ["query"],
            registry=registry,
        )
        self.duration = Histogram(
            "pronoia_export_render_duration_seconds",
            "Rendering one evaluation of one query.",
            registry=registry,
            buckets=(0.001, 0.005, 0.02, 0.05, 0.15, 0.5, 2),
        )


@dataclass
class _Rendered:
    """What one query has on the page."""

    labels: tuple[LabelSet, ...]
    arena: object
    texts: dict[LabelSet, bytes]
    with_name: bool
    blocks: dict[str, bytes] = field(default_factory=dict)
    n_lines: int = 0
    timestamp_ms: int = 0
    step_seconds: float = 0.0
    published: float = 0.0


class SyntheticPage:
    """A sink that Prometheus scrapes. `publish` may be called from any thread."""

    def __init__(
        self,
        *,
        max_series: int,
        registry: CollectorRegistry,
        monotonic: Callable[[], float] = time.monotonic,
        stale_seconds: float = STALE_SECONDS,
    ) -> None:
        self._max_series = max_series
        self._metrics = ExportMetrics(registry)
        self._monotonic = monotonic
        self._stale_seconds = stale_seconds
        self._lock = threading.Lock()
        self._queries: dict[str, _Rendered] = {}
        self._pages: dict[tuple[bool, bool], bytes] = {}

    def publish(self, evaluation: Evaluation) -> None:
        """Render one evaluation; the next scrape shows it whole, or the one before it whole."""
        began = self._monotonic()
        with self._lock:
            before = self._queries.get(evaluation.query)
            others = sum(r.n_lines for name, r in self._queries.items() if name != evaluation.query)
        rendered = self._prepare(evaluation, before)
        self._render(rendered, evaluation, room=self._max_series - others)
        with self._lock:
            self._queries[evaluation.query] = rendered
            self._pages.clear()
        self._metrics.duration.observe(self._monotonic() - began)

    def retire(self, query: str) -> None:
        """Take a query off the page."""
        with self._lock:
            if self._queries.pop(query, None) is not None:
                self._metrics.dropped.remove(query)
            self._pages.clear()

    def render(self, *, openmetrics: bool, gzipped: bool) -> tuple[bytes, dict[str, str]]:
        """The page's bytes and headers; made once after each change, then only handed out."""
        with self._lock:
            self._forget_stale()
            body = self._pages.get((openmetrics, gzipped))
            if body is None:
                plain = self._pages.get((openmetrics, False))
                if plain is None:
                    plain = self._pages[openmetrics, False] = self._join(openmetrics)
                # Level 1: six times smaller at a tenth of the default's time.
                body = gzip.compress(plain, 1) if gzipped else plain
                self._pages[openmetrics, gzipped] = body
        headers = {"Content-Type": OPENMETRICS_TYPE if openmetrics else TEXT_TYPE}
        if gzipped:
            headers["Content-Encoding"] = "gzip"
        return body, headers

    def _prepare(self, evaluation: Evaluation, before: _Rendered | None) -> _Rendered:
        """Label texts for this set of series: the old ones where the set is the same object."""
        from exporters.writer import LabelArena  # numba: imported in the worker that renders.

        labels = evaluation.labels
        step = 0.0
        if before is not None:
            step = max((evaluation.timestamp_ms - before.timestamp_ms) / 1000, 0.0)
        if before is not None and before.labels is labels:
            arena, texts, with_name = before.arena, before.texts, before.with_name
        else:
            with_name = len({label_set.get("__name__") for label_set in labels if label_set}) > 1
            known = before.texts if before is not None and before.with_name == with_name else {}
            texts = {
                label_set: known.get(label_set)
                or label_text(label_set, evaluation.query, evaluation.tenant, with_name=with_name)
                for label_set in labels
            }
            arena = LabelArena([texts[label_set] for label_set in labels])
        return _Rendered(
            labels,
            arena,
            texts,
            with_name,
            timestamp_ms=evaluation.timestamp_ms,
            step_seconds=step,
            published=self._monotonic(),
        )

    def _render(self, rendered: _Rendered, evaluation: Evaluation, *, room: int) -> None:
        from exporters.writer import LabelArena, lines

        assert isinstance(rendered.arena, LabelArena)
        columns: list[tuple[names.Family, bytes, FloatArray]] = [
            (names.ACTUAL, b"} ", evaluation.actual),
            (names.EXPECTED, b"} ", evaluation.expected),
            (names.LOWER, b"} ", evaluation.lower),
            (names.UPPER, b"} ", evaluation.upper),
            (names.SCORE, b"} ", evaluation.anomaly_score),
        ]
        for forecast in evaluation.forecasts:
            tail = f',horizon="{format_duration(forecast.horizon_seconds)}"}} '.encode()
            columns.append((names.FORECAST, tail, forecast.yhat))
            columns.append((names.FORECAST_LOWER, tail, forecast.lower))
            columns.append((names.FORECAST_UPPER, tail, forecast.upper))
        # A row without an actual value is a series that is gone: nothing of it is shown.
        rows: NDArray[np.int64] = np.flatnonzero(np.isfinite(evaluation.actual))
        allowed = max(room, 0) // len(columns)
        self._metrics.dropped.labels(evaluation.query).set(max(len(rows) - allowed, 0))
        rows = rows[:allowed]
        for family, tail, values in columns:
            block = lines(family.name.encode(), rendered.arena, tail, values, rows)
            rendered.blocks[family.name] = rendered.blocks.get(family.name, b"") + block
            rendered.n_lines += int(np.isfinite(values[rows]).sum())

    def _join(self, openmetrics: bool) -> bytes:
        parts: list[bytes] = []
        for family in names.FAMILIES:
            blocks = [r.blocks[family.name] for r in self._queries.values() if r.blocks.get(family.name)]
            if blocks:
                # The formats want all lines of a family together, whichever query they are from.
                parts.append(f"# HELP {family.name} {family.help}\n# TYPE {family.name} gauge\n".encode())
                parts += blocks
        if openmetrics:
            parts.append(b"# EOF\n")
        page = b"".join(parts)
        self._metrics.series.set(sum(r.n_lines for r in self._queries.values()))
        self._metrics.bytes.set(len(page))
        return page

    def _forget_stale(self) -> None:
        now = self._monotonic()
        for name, rendered in list(self._queries.items()):
            limit = max(self._stale_seconds, 3 * rendered.step_seconds)
            if now - rendered.published > limit:
                del self._queries[name]
                self._metrics.dropped.remove(name)
                self._pages.clear()
