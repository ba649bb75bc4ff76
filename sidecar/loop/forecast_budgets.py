"""When the error budgets of the configured objectives will be spent, renewed each hour."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from sidecar.config.slo import WINDOW, SloConfig
from sidecar.errors import ModelError, PullError
from sidecar.loop.clock import SourceClock
from sidecar.loop.forecast_rules import KnownOf, measured_by, nothing_known
from sidecar.offload import Offload
from sidecar.ports import HistorySource
from sidecar.prometheus.client import joined
from sidecar.series import LabelSet, SeriesBatch, ThresholdEta
from sidecar.telemetry import get_logger

STEP_SECONDS = 3600.0
STEP_MS = 3_600_000
STEP = "1h"
MAX_SERIES = 50
RULE_ENDING = "BudgetSpent"


class Budgets:
    """Hourly errors and events of each objective over its window, read once, and what follows from them."""

    def __init__(
        self,
        slos: Sequence[SloConfig],
        *,
        source: HistorySource,
        offload: Offload,
        clock: SourceClock,
        horizon_seconds: float,
        probabilities: Sequence[float],
        known_of: KnownOf = nothing_known,
    ) -> None:
        self._slos = slos
        self._source = source
        self._offload = offload
        self._clock = clock
        self._horizon_steps = max(round(horizon_seconds / STEP_SECONDS), 1)
        self._probabilities = probabilities
        self._known_of = known_of
        self._hours: dict[str, SeriesBatch] = {}
        self._found: dict[str, tuple[int, list[ThresholdEta]]] = {}
        self._log = get_logger("budgets")

    async def renew(self) -> list[ThresholdEta]:
        """What is known of every objective; one that cannot be read keeps what was known before."""
        end_ms = self._clock.last_step_ms(STEP_SECONDS, 1.0)
        for slo in self._slos:
            if self._found.get(slo.name, (0, []))[0] >= end_ms:
                continue
            try:
                bad = await self._read(slo.errors, end_ms, slo)
                every = await self._read(slo.total, end_ms, slo)
            except PullError as error:
                self._log.info("objective not read", slo=slo.name, err=str(error))
                continue
            etas = await self._offload.run(self._etas, slo, bad, every)
            self._found[slo.name] = (end_ms, etas)
        return [eta for _, etas in self._found.values() for eta in etas]

    async def _read(self, template: str, end_ms: int, slo: SloConfig) -> SeriesBatch:
        expr = template.replace(WINDOW, STEP)
        window_ms = round(slo.window * 1000)
        known = self._hours.get(expr)
        start_ms = end_ms - window_ms
        if known is not None and known.n_steps:
            start_ms = max(start_ms, int(known.timestamps[-1]) + STEP_MS)
        batch = await self._source.history(
            expr, start_ms=start_ms, end_ms=end_ms, step_ms=STEP_MS, name=slo.name, max_series=MAX_SERIES
        )
        if known is not None:
            batch = joined([known, batch], slo.name, 2 * MAX_SERIES)
        kept = batch.timestamps > end_ms - window_ms
        batch = SeriesBatch(slo.name, batch.labels, batch.timestamps[kept], batch.values[:, kept])
        self._hours[expr] = batch
        return batch

    def _etas(self, slo: SloConfig, bad: SeriesBatch, every: SeriesBatch) -> list[ThresholdEta]:
        from sidecar.engine.forecast.budget import SPENT, budget_crossing
        from sidecar.engine.known_history import KnownSeries

        known = self._known_of(measured_by(*(expr.replace(WINDOW, STEP) for expr in (slo.errors, slo.total))))
        rows = {_plain(labels): row for labels, row in zip(bad.labels, bad.values, strict=True)}
        found = []
        for labels, total in zip(every.labels, every.values, strict=True):
            # Where nothing ever failed, there is no series of errors.
            errors = np.nan_to_num(rows.get(_plain(labels), np.zeros(len(total))))
            try:
                crossing = budget_crossing(
                    every.timestamps,
                    errors,
                    total,
                    objective=slo.objective,
                    step_seconds=STEP_SECONDS,
                    window_steps=round(slo.window / STEP_SECONDS),
                    horizon_steps=self._horizon_steps,
                    # Either learns from its own past: a deployment costs errors, a release brings traffic.
                    known_errors=KnownSeries(_plain(labels), *known),
                    known_traffic=KnownSeries(_plain(labels), *known),
                )
            except ModelError:
                continue  # No events at all, so nothing that could be spent.
            found += [
                ThresholdEta(_plain(labels), f"{slo.name}{RULE_ENDING}", str(SPENT), probability, seconds)
                for probability in self._probabilities
                if math.isfinite(seconds := crossing.eta_seconds(probability))
            ]
        return found


def _plain(labels: LabelSet) -> LabelSet:
    return labels.without("__name__")
