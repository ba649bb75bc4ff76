"""Warnings ahead of alert rules, tried on the past: what each would have been worth."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sidecar.config.capacity import CapacityConfig
from sidecar.config.fields import format_duration
from sidecar.errors import PullError
from sidecar.loop.forecast_rules import taken_apart, with_capacities
from sidecar.ports import HistorySource
from sidecar.prometheus.answers import Rule
from sidecar.series import SeriesBatch

if TYPE_CHECKING:  # The engine is imported in a worker thread: numba costs half a second.
    from sidecar.engine.forecast.crossing import Threshold
    from sidecar.engine.forecast.replay import Warnings

MAX_SERIES = 1000


@dataclass(frozen=True)
class Terms:
    """How a warning is tried: durations in seconds, `probability` in 0..1, `max_series` of each rule."""

    step: float
    history: float
    warn: float
    probability: float
    held: float
    max_series: int


@dataclass(frozen=True)
class Trial:
    """One rule's threshold and what a warning of it would have been worth."""

    rule: str
    measured: str
    bound: Threshold
    n_series: int
    worth: Warnings

    @property
    def words(self) -> str:
        """The back-test in a sentence's half."""
        worth = self.worth
        if not self.n_series:
            return "there is no series to try it on"
        if not worth.n_warnings and not worth.n_crossings:
            return "the threshold was neither crossed nor expected to be"
        lead = worth.median_lead_seconds
        told = f", {format_duration(round(lead / 60) * 60)} ahead in the median" if lead is not None else ""
        return (
            f"{worth.n_true} of {worth.n_warnings} warnings came true, "
            f"{len(worth.leads_seconds)} of {worth.n_crossings} crossings had one{told}"
        )

    def may_be_published(self, min_precision: float) -> bool:
        """Whether it has a past, and that does not speak against it."""
        precision = self.worth.precision
        return self.n_series > 0 and (precision is None or precision >= min_precision)


async def trials(
    source: HistorySource,
    rules: Sequence[Rule],
    terms: Terms,
    *,
    end_seconds: float,
    run: Callable[..., Awaitable[Warnings]],
    capacities: Sequence[CapacityConfig] = (),
    on_error: Callable[[str, PullError], object] = lambda *_: None,
) -> list[Trial]:
    """Every threshold of the rules, and of capacities that there are, tried on the series nearest to it.

    `run`: computes off the event loop (`offload.run`, `asyncio.to_thread`). A rule whose history
    cannot be read is handed to `on_error` and left out.
    """
    of_rules, _ = taken_apart(rules, len(rules))
    measured = with_capacities(of_rules, capacities)
    step_ms = round(terms.step * 1000)
    end_ms = round(end_seconds * 1000) // step_ms * step_ms
    found = []
    for one in measured:
        try:
            batch = await source.history(
                one.expr,
                start_ms=end_ms - round(terms.history * 1000),
                end_ms=end_ms,
                step_ms=step_ms,
                name="threshold",
                max_series=MAX_SERIES,
            )
        except PullError as error:
            on_error(one.thresholds[0].rule, error)
            continue
        if one.capacity and not batch.n_series:
            continue
        for threshold in one.thresholds:
            chosen = _nearest(batch, threshold.bound, terms.max_series)
            worth = await run(_replayed, batch, chosen, threshold.bound, terms)
            found.append(Trial(threshold.rule, one.expr, threshold.bound, len(chosen), worth))
    return found


def _nearest(batch: SeriesBatch, bound: Threshold, max_series: int) -> list[int]:
    """Rows that came nearest to the threshold, relative to their range."""
    seen = np.flatnonzero(np.isfinite(batch.values).sum(axis=1) > 1)
    values = batch.values[seen]
    extreme = np.nanmax(values, axis=1) if bound.above else np.nanmin(values, axis=1)
    distance = (bound.value - extreme) * (1 if bound.above else -1)
    span = np.nanmax(values, axis=1) - np.nanmin(values, axis=1)
    order = np.argsort(distance / np.maximum(span, 1e-12 + 1e-6 * abs(bound.value)), kind="stable")
    return [int(row) for row in seen[order][:max_series]]


def _replayed(batch: SeriesBatch, rows: list[int], bound: Threshold, terms: Terms) -> Warnings:
    from sidecar.engine.forecast.replay import NOTHING, replay

    found = NOTHING
    for row in rows:
        values = batch.values[row]
        begin = int(np.flatnonzero(np.isfinite(values))[0])
        found += replay(
            values[begin:],
            terms.step,
            bound,
            warn_seconds=terms.warn,
            probability=terms.probability,
            for_seconds=terms.held,
            first=(len(values) - begin) // 2,
        )
    return found
