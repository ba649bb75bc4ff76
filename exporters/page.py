"""The scrape page: each evaluation is rendered once, every scrape reuses the bytes.

Samples carry no timestamps: only then does Prometheus mark a series stale at
the first scrape that misses it (docs/decisions/0004).
"""

from __future__ import annotations

import gzip
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry, Gauge, Histogram

from exporters import names
from exporters.formats import MetricFormat, PronoiaFormat
from sidecar.series import Evaluation, LabelSet

if TYPE_CHECKING:
    from exporters.writer import LabelArena

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
class _Dressed:
    """The label texts of a query's rows in one format."""

    arena: LabelArena
    texts: dict[LabelSet, bytes]
    with_name: bool
    same_text: NDArray[np.int64] | None
    """Equal where rows have the same label text; None in the usual case that none have."""

    def distinct(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """The rows less those whose label text an earlier one has.

        Names made legal may fall together; a page with one sample twice is refused as a whole.
        """
        if self.same_text is None:
            return rows
        _, first = np.unique(self.same_text[rows], return_index=True)
        return rows[np.sort(first)]


@dataclass
class _Rendered:
    """What one query has on the page."""

    labels: tuple[LabelSet, ...] = ()
    dressed: tuple[_Dressed, ...] = ()
    blocks: dict[names.Family, list[bytes]] = field(default_factory=dict)
    n_lines: int = 0
    step_seconds: float = 0.0
    published: float = 0.0


def _dress(
    metric_format: MetricFormat, evaluation: Evaluation, before: _Dressed | None, *, with_name: bool
) -> _Dressed:
    """Label texts for this set of series; those that were known before are taken over."""
    from exporters.writer import LabelArena  # numba: imported in the worker that renders.

    known = before.texts if before is not None and before.with_name == with_name else {}
    texts = {
        label_set: known.get(label_set)
        or metric_format.label_text(label_set, evaluation.query, evaluation.tenant, with_name=with_name)
        for label_set in evaluation.labels
    }
    by_row = [texts[label_set] for label_set in evaluation.labels]
    same_text = None
    if len(set(by_row)) < len(by_row):
        ids: dict[bytes, int] = {}
        same_text = np.array([ids.setdefault(text, len(ids)) for text in by_row], dtype=np.int64)
    return _Dressed(LabelArena(by_row), texts, with_name, same_text)


class SyntheticPage:
    """A sink that Prometheus scrapes. `publish` may be called from any thread."""

    def __init__(
        self,
        *,
        max_series: int,
        registry: CollectorRegistry,
        monotonic: Callable[[], float] = time.monotonic,
        stale_seconds: float = STALE_SECONDS,
        formats: Sequence[MetricFormat] = (PronoiaFormat(),),
    ) -> None:
        self._max_series = max_series
        self._formats = formats
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
        rendered = _Rendered()
        rendered.blocks[family] = [body]
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
        labels = evaluation.labels
        if before is not None and before.labels is labels:
            dressed = before.dressed
        else:
            with_name = len({label_set.get("__name__") for label_set in labels if label_set}) > 1
            old = before.dressed if before is not None else (None,) * len(self._formats)
            dressed = tuple(
                _dress(metric_format, evaluation, one, with_name=with_name)
                for metric_format, one in zip(self._formats, old, strict=True)
            )
        return _Rendered(labels, dressed, step_seconds=evaluation.step_seconds, published=self._monotonic())

    def _render(self, rendered: _Rendered, evaluation: Evaluation, *, room: int) -> int:
        """Fill in the lines; the number of live series for which there was no room."""
        from exporters.writer import lines

        columns = [metric_format.columns(evaluation) for metric_format in self._formats]
        # A row without an actual value is a series that is gone: nothing of it is shown.
        live: NDArray[np.int64] = np.flatnonzero(~np.isnan(evaluation.actual))
        most = max(room, 0) // sum(len(of_format) for of_format in columns)
        shown = len(live)
        for dressed, of_format in zip(rendered.dressed, columns, strict=True):
            rows = dressed.distinct(live)[:most]
            shown = min(shown, len(rows))
            for column in of_format:
                name = column.family.name.encode()
                block = lines(name, dressed.arena, column.tail, column.values, rows)
                rendered.blocks.setdefault(column.family, []).append(block)
                rendered.n_lines += int((~np.isnan(column.values[rows])).sum())
        self._render_absent(rendered, evaluation, room=room)
        return len(live) - shown

    def _render_absent(self, rendered: _Rendered, evaluation: Evaluation, *, room: int) -> None:
        """Of a series that is missed there is one line in the first format, and nothing else."""
        from exporters.writer import lines

        if evaluation.absent is None:
            return
        dressed = rendered.dressed[0]
        missed = dressed.distinct(np.flatnonzero(evaluation.absent))[: max(room - rendered.n_lines, 0)]
        ones = np.ones(len(evaluation.actual))
        block = lines(names.ABSENT.name.encode(), dressed.arena, b"} ", ones, missed)
        rendered.blocks[names.ABSENT] = [block]
        rendered.n_lines += len(missed)

    def _join(self, shown: list[_Rendered], openmetrics: bool) -> bytes:
        parts: list[bytes] = []
        # Our own families in their order, then those of other formats.
        families = dict.fromkeys((*names.FAMILIES, *(family for r in shown for family in r.blocks)))
        for family in families:
            blocks = [block for r in shown for block in r.blocks.get(family, ())]
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
