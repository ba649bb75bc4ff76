"""What happens to a query as a whole: its number of series jumps, its counters are reset at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from sidecar.config.model import QueryConfig
from sidecar.events import Event, EventBus
from sidecar.loop.cardinality import Cardinality
from sidecar.loop.metrics import LoopMetrics
from sidecar.loop.resets import ResetStorms
from sidecar.series import SeriesBatch
from sidecar.telemetry import get_logger


class Upheavals:
    """Tells of them when they begin: log, metrics, events `cardinality.jumped` and `counters.reset`."""

    def __init__(
        self, query: QueryConfig, *, bus: EventBus, metrics: LoopMetrics, now: Callable[[], float]
    ) -> None:
        self._query, self._bus, self._metrics, self._now = query.name, bus, metrics, now
        self._cardinality = Cardinality(query.step)
        self._resets = ResetStorms()
        self._log = get_logger("watch").bind(query=query.name)

    def observe_series(self, n_series: int) -> None:
        """Take the number of series that have a value now."""
        jump = self._cardinality.observe(n_series)
        if jump is None:
            return
        self._metrics.cardinality_jumps.labels(self._query, "up" if jump.rose else "down").inc()
        facts = {"n_series": n_series, "usual": round(jump.usual, 1)}
        self._tell("cardinality.jumped", "the number of series jumped", facts)

    def observe_resets(self, answer: SeriesBatch, *, expected: bool) -> None:
        """Take what `resets_expr` gave. `expected`: something is being deployed."""
        storm = self._resets.observe(answer, expected=expected)
        if storm is None:
            return
        self._metrics.reset_storms.labels(self._query).inc()
        facts = {"n_resets": storm.n_resets, "n_counters": storm.n_counters}
        self._tell("counters.reset", "many counters were reset at once", facts)

    def _tell(self, kind: str, words: str, facts: Mapping[str, Any]) -> None:
        self._log.warning(words, **facts)
        self._bus.publish(Event(kind, self._now(), {"query": self._query, **facts}))
