"""The loop that says when the thresholds of existing alert rules will be crossed."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge

from sidecar.config.forecast import ThresholdsConfig
from sidecar.errors import ModelError, PullError
from sidecar.loop.alone import Alone
from sidecar.loop.clock import AHEAD_SECONDS, SourceClock
from sidecar.loop.forecast_budgets import Budgets
from sidecar.loop.forecast_rules import KnownOf, Measured, nothing_known, taken_apart, with_capacities
from sidecar.offload import Offload
from sidecar.ports import HistorySource
from sidecar.prometheus.answers import Rule
from sidecar.rounds import Rounds
from sidecar.series import ThresholdEta
from sidecar.telemetry import get_logger

if TYPE_CHECKING:  # The engine is imported in a worker thread: numba costs half a second.
    from sidecar.engine.forecast.watched import WatchedSeries

OFFSET_SECONDS = 1.0
WORK_SHARE = 0.05
"""Part of an interval that forecasting may compute."""
SLICE_SECONDS = 0.5
"""The worker threads serve others too: no piece of work is longer than about this."""
SAVE_SECONDS = 3600.0
RETRY_SECONDS = 15.0
DOUBTS = 3
"""So many rounds in a row: of servers behind one address one may have a clock of its own."""
VALID_STEPS = 3
"""What was worked out is told for so many intervals, also where nothing could be read since."""


class ThresholdSource(HistorySource, Protocol):
    """A source of series that also has alert rules."""

    async def rules(self) -> list[Rule]:
        """Every rule that is loaded. Raises: PullError."""
        ...


class EtaSink(Protocol):
    """Where the times until thresholds go."""

    def publish(self, etas: Sequence[ThresholdEta], *, valid_seconds: float) -> None:
        """Take all that is known now, in place of what was known before."""
        ...


class ThresholdMetrics:
    """What the loop tells of itself."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.rules = Gauge(
            "pronoia_threshold_rules",
            "Alert rules, by whether their threshold is forecast or why it is not.",
            ["result"],
            registry=registry,
        )
        self.series = Gauge(
            "pronoia_threshold_series", "Series whose way to a threshold is forecast.", registry=registry
        )
        self.behind = Gauge(
            "pronoia_threshold_series_behind",
            "Of these, how many the last cycle had no time for.",
            registry=registry,
        )
        self.cycles = Counter(
            "pronoia_threshold_cycles_total",
            "Rounds over all watched rules, by outcome.",
            ["result"],
            registry=registry,
        )

    def forget(self) -> None:
        """No threshold is forecast any more: a reload has switched that off."""
        self.rules.clear()
        self.series.set(0)
        self.behind.set(0)


class ThresholdLoop:
    """Reads what alert rules measure, forecasts it, and tells when thresholds will be crossed."""

    def __init__(
        self,
        config: ThresholdsConfig,
        *,
        source: ThresholdSource,
        sink: EtaSink,
        offload: Offload,
        clock: SourceClock,
        metrics: ThresholdMetrics,
        directory: Path,
        budgets: Budgets | None = None,
        known_of: KnownOf = nothing_known,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._config = config
        self._source = source
        self._sink = sink
        self._offload = offload
        self._at_histories = Alone(offload)
        """A round that was broken off is still at them for a while."""
        self._clock = clock
        self._metrics = metrics
        self._directory = directory
        self._budgets = budgets
        self._known_of = known_of
        self._monotonic = monotonic
        self._log = get_logger("threshold-loop")
        self._rounds = Rounds(
            "threshold-loop",
            self.cycle,
            pause=self._pause,
            undone="thresholds not forecast",
            cycles=metrics.cycles,
        )
        self._watched: dict[str, WatchedSeries] = {}
        self._measured: list[Measured] = []
        self._doubts = 0
        """Rounds in a row at which the source's clock was far behind what it once told."""
        self._odd: set[str] = set()
        """Expressions of which a series broke the last cycle's forecasting off."""
        self._saved_at = monotonic()
        self.etas: list[ThresholdEta] = []

    def start(self) -> None:
        """Begin, where it is enabled."""
        if self._config.enabled:
            self._rounds.start()
        else:
            self._metrics.forget()

    async def stop(self) -> None:
        """End, and keep the history that was read."""
        if self._rounds.started:
            await self._rounds.stop()
            await self._save()

    def _pause(self) -> float:
        interval = self._config.interval
        pause = interval if self._rounds.last_error is None else min(interval, RETRY_SECONDS)
        return min(pause, self._clock.until_next_step(pause, OFFSET_SECONDS))

    async def cycle(self) -> None:
        """One round: the rules as they are now, new samples, new forecasts.

        Raises: PullError where the rules cannot be read.
        """
        of_rules, outcome = taken_apart(await self._source.rules(), self._config.max_rules)
        self._measured = with_capacities(of_rules, self._config.capacities)
        for expr in set(self._watched) - {one.expr for one in self._measured}:
            del self._watched[expr]
        end_ms = self._clock.last_step_ms(self._config.interval, OFFSET_SECONDS)
        ahead = any(self._is_ahead(watched, end_ms) for watched in self._watched.values())
        self._doubts = self._doubts + 1 if ahead else 0
        refused = 0
        for one in self._measured:
            try:
                await self._renew(one)
            except PullError as error:
                refused += len(one.thresholds) - one.capacity
                self._log.info("rule's expression not read", expr=one.expr, err=str(error))
        odd = await self._work()
        broke_off = sum(len(one.thresholds) - one.capacity for one in self._measured if one.expr in odd)
        outcome["watched"] -= refused + broke_off
        outcome["not_read"] += refused
        outcome["broke_off"] += broke_off
        self._metrics.rules.clear()
        for result, count in outcome.items():
            self._metrics.rules.labels(result).set(count)
        self._publish(await self._budgets.renew() if self._budgets is not None else [])
        if self._monotonic() - self._saved_at >= SAVE_SECONDS:
            await self._save()

    def _is_ahead(self, watched: WatchedSeries, end_ms: int) -> bool:
        return (watched.last_ms or 0) - end_ms > AHEAD_SECONDS * 1000

    async def _renew(self, one: Measured) -> None:
        step_ms = round(self._config.interval * 1000)
        end_ms = self._clock.last_step_ms(self._config.interval, OFFSET_SECONDS)
        watched = self._watched.get(one.expr)
        if watched is None:
            watched = await self._offload.run(self._open, one.expr)
        if self._doubts >= DOUBTS and self._is_ahead(watched, end_ms):
            self._log.warning("the source's clock was set back, reading anew", expr=one.expr)
            watched = self._empty()
        # Before the series are read, which may fail: what is told belongs to the rules as they are now.
        watched.announce(*self._known_of(one))
        watched.watch([threshold.bound for threshold in one.thresholds])
        oldest_ms = end_ms - round(self._config.history * 1000)
        start_ms = max((watched.last_ms or 0) + step_ms, oldest_ms)
        if start_ms <= end_ms:
            batch = await self._source.history(
                one.expr,
                start_ms=start_ms,
                end_ms=end_ms,
                step_ms=step_ms,
                name="threshold",
                max_series=(
                    self._config.max_series_per_capacity if one.capacity else self._config.max_series_per_rule
                ),
            )
            if not self._clock.not_yet(end_ms, OFFSET_SECONDS):
                await self._at_histories.run(watched.take, batch)
        self._watched[one.expr] = watched

    async def _work(self) -> set[str]:
        """Renew every expression's forecasts as far as the time goes, in slices; those with an odd series."""
        until = self._monotonic() + WORK_SHARE * self._config.interval
        behind = dict.fromkeys(self._watched, 1)
        odd: set[str] = set()
        while any(behind.values()):
            for expr in [expr for expr, left in behind.items() if left]:
                try:
                    watched = self._watched[expr]
                    behind[expr] = await self._at_histories.run(watched.work, SLICE_SECONDS)
                except Exception:
                    # The edge of one series, which has had its turn: the next slice goes on behind it.
                    odd.add(expr)
                    if expr not in self._odd:
                        self._log.exception("a series not forecast", expr=expr)
            if self._monotonic() >= until:
                break
        self._metrics.series.set(sum(watched.n_series for watched in self._watched.values()))
        self._metrics.behind.set(sum(behind.values()))
        self._odd = odd
        return odd

    def _publish(self, of_budgets: Sequence[ThresholdEta]) -> None:
        end_ms = self._clock.last_step_ms(self._config.interval, OFFSET_SECONDS)
        oldest_ms = end_ms - round((VALID_STEPS - 1) * self._config.interval * 1000)
        self.etas = [
            *of_budgets,
            *(
                ThresholdEta(labels, threshold.rule, str(threshold.bound), probability, seconds)
                for one in self._measured
                if one.expr in self._watched and (self._watched[one.expr].last_ms or 0) >= oldest_ms
                for labels, n, found in self._watched[one.expr].crossings()
                for threshold in (one.thresholds[n],)
                for probability in self._config.probabilities
                if math.isfinite(seconds := found.eta_seconds(probability))
            ),
        ]
        self._sink.publish(self.etas, valid_seconds=VALID_STEPS * self._config.interval)

    def _empty(self) -> WatchedSeries:
        from sidecar.engine.forecast.watched import WatchedSeries

        return WatchedSeries(
            step_seconds=self._config.interval,
            history_seconds=self._config.history,
            horizon_seconds=self._config.horizon,
        )

    def _open(self, expr: str) -> WatchedSeries:
        """The saved history of an expression, or an empty one."""
        from sidecar.engine.forecast.watched_file import history_path, load

        watched = self._empty()
        path = history_path(self._directory, expr, self._config.interval)
        if path.exists():
            try:
                load(watched, path)
                for note in watched.notes:
                    self._log.info("a part of the saved history is made anew", reason=note)
            except ModelError as error:
                self._log.warning("saved history set aside, reading anew", err=str(error))
        return watched

    async def _save(self) -> None:
        self._saved_at = self._monotonic()
        try:
            await self._at_histories.run(self._write)
        except OSError as error:
            self._log.warning("history not saved, will try again", err=str(error))

    def _write(self) -> None:
        from sidecar.engine.forecast.watched_file import ENDING, history_path, save

        self._directory.mkdir(parents=True, exist_ok=True)
        kept = set()
        for expr, watched in self._watched.items():
            if not watched.n_series:
                continue
            path = history_path(self._directory, expr, self._config.interval)
            save(watched, path)
            kept.add(path)
        for old in set(self._directory.glob(f"*{ENDING}")) - kept:
            old.unlink(missing_ok=True)
