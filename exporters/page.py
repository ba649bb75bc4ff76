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

STALE_STEPS = 3
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
            "Source series of a query left off the page: beyond export.max_series, or with equal labels.",
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
    same_text: NDArray[np.int64] | None
    """Equal where rows have the same label text; None in the usual case that none have."""
    blocks: dict[str, list[bytes]] = field(default_factory=dict)
    n_lines: int = 0
    timestamp_ms: int = 0
    step_seconds: float = 0.0
    published: float = 0.0


def _distinct(rendered: _Rendered, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """The rows less those whose label text an earlier one has.

    Names made legal may fall together; a page with one sample twice is refused as a whole.
    """
    if rendered.same_text is None:
        return rows
    _, first = np.unique(rendered.same_text[rows], return_index=True)
    return rows[np.sort(first)]


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
        self._publishing = threading.Lock()  # One evaluation at a time, or two would share the room left.
        self._joining = threading.Lock()  # Two scrapes at once: the second waits for the first one's bytes.
        self._lock = threading.Lock()  # Around the fields below, never while bytes are made.
        self._queries: dict[str, _Rendered] = {}
        self._generation = 0
        self._pages: dict[tuple[bool, bool], tuple[int, bytes]] = {}

    def publish(self, evaluation: Evaluation) -> None:
        """Render one evaluation; the next scrape shows it whole, or the one before it whole."""
        with self._publishing:
            began = self._monotonic()
            with self._lock:
                before = self._queries.get(evaluation.query)
                others = sum(r.n_lines for name, r in self._queries.items() if name != evaluation.query)
            rendered = self._prepare(evaluation, before)
            n_dropped = self._render(rendered, evaluation, room=self._max_series - others)
            with self._lock:
                self._queries[evaluation.query] = rendered
                self._generation += 1
                self._metrics.dropped.labels(evaluation.query).set(n_dropped)
            self._metrics.duration.observe(self._monotonic() - began)

    def put(self, source: str, family: names.Family, body: bytes, *, valid_seconds: float) -> None:
        """Show ready lines of one family, in place of those that this source gave before."""
        rendered = _Rendered((), None, {}, with_name=False, same_text=None)
        rendered.blocks[family.name] = [body]
        rendered.n_lines = body.count(b"\n")
        rendered.step_seconds = valid_seconds / STALE_STEPS
        rendered.published = self._monotonic()
        with self._lock:
            self._queries[source] = rendered
            self._metrics.dropped.labels(source).set(0)
            self._generation += 1

    def retire(self, query: str) -> None:
        """Take a query off the page."""
        with self._lock:
            self._forget(query)

    def render(self, *, openmetrics: bool, gzipped: bool) -> tuple[bytes, dict[str, str]]:
        """The page's bytes and headers; made once after each change, then only handed out."""
        with self._joining:
            with self._lock:
                self._forget_stale()
                generation, shown = self._generation, list(self._queries.values())
            body = self._cached(generation, openmetrics, gzipped)
            if body is None:
                plain = self._cached(generation, openmetrics, False)
                if plain is None:
                    plain = self._join(shown, openmetrics)
                    self._pages[openmetrics, False] = generation, plain
                body = plain
                if gzipped:
                    body = gzip.compress(plain, 1)
                    self._pages[openmetrics, True] = generation, body
        headers = {"Content-Type": OPENMETRICS_TYPE if openmetrics else TEXT_TYPE}
        if gzipped:
            headers["Content-Encoding"] = "gzip"
        return body, headers

    def warm(self) -> None:
        """Load or compile the writer, which takes a second or more; in a thread, before the first publish."""
        from exporters.writer import LabelArena, lines

        lines(b"up", LabelArena([b"{"]), b"} ", np.ones(1), np.zeros(1, dtype=np.int64))

    def _cached(self, generation: int, openmetrics: bool, gzipped: bool) -> bytes | None:
        made, body = self._pages.get((openmetrics, gzipped), (-1, b""))
        return body if made == generation else None

    def _prepare(self, evaluation: Evaluation, before: _Rendered | None) -> _Rendered:
        """Label texts for this set of series: the old ones where the set is the same object."""
        from exporters.writer import LabelArena  # numba: imported in the worker that renders.

        labels = evaluation.labels
        step = 0.0
        if before is not None:
            step = (evaluation.timestamp_ms - before.timestamp_ms) / 1000
            step = step if step > 0 else before.step_seconds
        if before is not None and before.labels is labels:
            arena, texts, with_name = before.arena, before.texts, before.with_name
            same_text = before.same_text
        else:
            with_name = len({label_set.get("__name__") for label_set in labels if label_set}) > 1
            known = before.texts if before is not None and before.with_name == with_name else {}
            texts = {
                label_set: known.get(label_set)
                or label_text(label_set, evaluation.query, evaluation.tenant, with_name=with_name)
                for label_set in labels
            }
            by_row = [texts[label_set] for label_set in labels]
            arena = LabelArena(by_row)
            same_text = None
            if len(set(by_row)) < len(by_row):
                ids: dict[bytes, int] = {}
                same_text = np.array([ids.setdefault(text, len(ids)) for text in by_row], dtype=np.int64)
        return _Rendered(
            labels,
            arena,
            texts,
            with_name,
            same_text,
            timestamp_ms=evaluation.timestamp_ms,
            step_seconds=step,
            published=self._monotonic(),
        )

    def _render(self, rendered: _Rendered, evaluation: Evaluation, *, room: int) -> int:
        """Fill in the lines; the number of live series for which there was no room."""
        from exporters.writer import LabelArena, lines

        assert isinstance(rendered.arena, LabelArena)
        columns: list[tuple[names.Family, bytes, FloatArray]] = [
            (names.ACTUAL, b"} ", evaluation.actual),
            (names.EXPECTED, b"} ", evaluation.expected),
            (names.LOWER, b"} ", evaluation.lower),
            (names.UPPER, b"} ", evaluation.upper),
            (names.SCORE, b"} ", evaluation.anomaly_score),
        ]
        if evaluation.severity is not None:
            severity = np.where(evaluation.severity > 0, evaluation.severity.astype(np.float64), np.nan)
            columns.append((names.SEVERITY, b"} ", severity))
        for forecast in evaluation.forecasts:
            tail = f',horizon="{format_duration(forecast.horizon_seconds)}"}} '.encode()
            columns.append((names.FORECAST, tail, forecast.yhat))
            columns.append((names.FORECAST_LOWER, tail, forecast.lower))
            columns.append((names.FORECAST_UPPER, tail, forecast.upper))
        # A row without an actual value is a series that is gone: nothing of it is shown.
        rows: NDArray[np.int64] = np.flatnonzero(~np.isnan(evaluation.actual))
        n_live = len(rows)
        rows = _distinct(rendered, rows)[: max(room, 0) // len(columns)]
        for family, tail, values in columns:
            block = lines(family.name.encode(), rendered.arena, tail, values, rows)
            rendered.blocks.setdefault(family.name, []).append(block)
            rendered.n_lines += int((~np.isnan(values[rows])).sum())
        if evaluation.absent is not None:
            # Of a series that is missed there is this one line, and nothing else.
            missed = _distinct(rendered, np.flatnonzero(evaluation.absent))
            missed = missed[: max(room - rendered.n_lines, 0)]
            ones = np.ones(len(evaluation.actual))
            rendered.blocks[names.ABSENT.name] = [
                lines(names.ABSENT.name.encode(), rendered.arena, b"} ", ones, missed)
            ]
            rendered.n_lines += len(missed)
        return n_live - len(rows)

    def _join(self, shown: list[_Rendered], openmetrics: bool) -> bytes:
        parts: list[bytes] = []
        for family in names.FAMILIES:
            blocks = [block for r in shown for block in r.blocks.get(family.name, ())]
            if any(blocks):
                # The formats want all lines of a family together, whichever query they are from.
                parts.append(f"# HELP {family.name} {family.help}\n# TYPE {family.name} gauge\n".encode())
                parts += blocks
        if openmetrics:
            parts.append(b"# EOF\n")
        page = b"".join(parts)
        self._metrics.series.set(sum(r.n_lines for r in shown))
        self._metrics.bytes.set(len(page))
        return page

    def _forget_stale(self) -> None:
        now = self._monotonic()
        for name, rendered in list(self._queries.items()):
            limit = max(self._stale_seconds, STALE_STEPS * rendered.step_seconds)
            if now - rendered.published > limit:
                self._forget(name)

    def _forget(self, query: str) -> None:
        if self._queries.pop(query, None) is not None:
            self._metrics.dropped.remove(query)
            self._generation += 1
