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
OFFSET_SECONDS = 1.0
MAX_SERIES = 50
VALID_STEPS = 3
"""What was worked out is told for so many hours, also where nothing could be read since."""

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
        self._hours: dict[tuple[str, float], SeriesBatch] = {}
        """By expression and window: objectives on the same events may look differently far back."""
        self._found: dict[str, tuple[int, list[ThresholdEta]]] = {}
        self._log = get_logger("budgets")

    async def renew(self) -> list[ThresholdEta]:
        """What is known of every objective; one that cannot be read keeps what was known for some hours."""
        end_ms = self._clock.last_step_ms(STEP_SECONDS, OFFSET_SECONDS)
        for slo in self._slos:
            if self._found.get(slo.name, (0, []))[0] >= end_ms:
                continue
            try:
                bad = await self._read(slo.errors, end_ms, slo)
                every = await self._read(slo.total, end_ms, slo)
            except PullError as error:
                self._log.info("objective not read", slo=slo.name, err=str(error))
                continue
            if self._clock.not_yet(end_ms, OFFSET_SECONDS):
                continue
            self._keep(slo.errors, bad, end_ms, slo)
            self._keep(slo.total, every, end_ms, slo)
            try:
                etas = await self._offload.run(self._etas, slo)
            except Exception:
                # The edge of one objective: a defect in it must not silence the others.
                self._log.exception("objective not forecast", slo=slo.name)
                etas = []
            self._found[slo.name] = (end_ms, etas)
        oldest_ms = end_ms - (VALID_STEPS - 1) * STEP_MS
        return [eta for at_ms, etas in self._found.values() if at_ms >= oldest_ms for eta in etas]

    async def _read(self, template: str, end_ms: int, slo: SloConfig) -> SeriesBatch:
        expr = template.replace(WINDOW, STEP)
        window_ms = round(slo.window * 1000)
        known = self._hours.get((expr, slo.window))
        start_ms = end_ms - window_ms
        if known is not None and known.n_steps:
            start_ms = max(start_ms, int(known.timestamps[-1]) + STEP_MS)
        return await self._source.history(
            expr, start_ms=start_ms, end_ms=end_ms, step_ms=STEP_MS, name=slo.name, max_series=MAX_SERIES
        )

    def _keep(self, template: str, batch: SeriesBatch, end_ms: int, slo: SloConfig) -> None:
        """Put new hours behind those that are known; what is older than the window is let go of."""
        key = template.replace(WINDOW, STEP), slo.window
        if (known := self._hours.get(key)) is not None:
            batch = joined([known, batch], slo.name, known.n_series + batch.n_series)
        kept = batch.timestamps > end_ms - round(slo.window * 1000)
        values = batch.values[:, kept]
        seen = np.flatnonzero(np.isfinite(values).any(axis=1))
        labels = tuple(batch.labels[row] for row in seen.tolist())
        self._hours[key] = SeriesBatch(slo.name, labels, batch.timestamps[kept], values[seen])

    def _etas(self, slo: SloConfig) -> list[ThresholdEta]:
        from sidecar.engine.forecast.budget import SPENT, budget_crossing
        from sidecar.engine.known_history import KnownSeries

        exprs = [template.replace(WINDOW, STEP) for template in (slo.errors, slo.total)]
        known = self._known_of(measured_by(*exprs))
        bad, every = (self._hours[expr, slo.window] for expr in exprs)
        rows = {_plain(labels): row for labels, row in zip(bad.labels, bad.values, strict=True)}
        found = []
        for labels, total in zip(every.labels, every.values, strict=True):
            if not np.isfinite(total[-VALID_STEPS:]).any():
                continue  # It is gone.
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
