"""What a rule would have done: its firings over a window, from range queries of a real Prometheus."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from rules.backtest.firing import Firing
from rules.backtest.limit import limited_firings
from rules.backtest.question import Question, clamped, questions
from rules.read import WrittenRule
from sidecar.durable import replace_file
from sidecar.errors import PullError, RuleError, RuleReason, TooManySeries
from sidecar.loop.partial import is_partial
from sidecar.ports import Source
from sidecar.series import LabelSet, SeriesBatch

MAX_SERIES = 5_000
KEPT_SECONDS = 7 * 86_400.0
"""A run that was broken off is gone on with within days; each minute has questions of its own."""


@dataclass(frozen=True, slots=True)
class Window:
    """A range of time and the step at which rules are evaluated in it; int64 ms."""

    start_ms: int
    end_ms: int
    step_ms: int

    @property
    def days(self) -> float:
        """Length in days."""
        return (self.end_ms - self.start_ms) / 86_400_000

    @property
    def n_steps(self) -> int:
        """Evaluations in it."""
        return (self.end_ms - self.start_ms) // self.step_ms + 1


@dataclass(frozen=True, slots=True)
class RulePast:
    """One rule's firings in a window; `labels` by row. `error`: why there is no answer, or empty.

    `cost_seconds`: how long the source took to answer; 0 where the answer was remembered.
    """

    rule: WrittenRule
    window: Window
    labels: tuple[LabelSet, ...] = ()
    firings: tuple[Firing, ...] = ()
    error: str = ""
    cost_seconds: float = 0.0

    @property
    def firing_seconds(self) -> float:
        """All firings' durations together."""
        return sum(firing.seconds for firing in self.firings)


class BackTester:
    """Back-tests rules against one source, a bounded number of series at a time.

    Requests are as many at once as the source's own bound allows. With a `memory`
    folder, what was answered is kept there by question, so that a run that was
    broken off goes on where it stopped. A rule may hold up to `max_samples` answered samples.
    """

    def __init__(
        self,
        source: Source,
        *,
        max_series: int = MAX_SERIES,
        max_samples: int = 50_000_000,
        at_once: int = 2,
        memory: Path | None = None,
    ) -> None:
        self._source = source
        self._max_series = max_series
        self._max_samples = max_samples
        self._slots = asyncio.Semaphore(at_once)
        self._memory = memory

    async def all(
        self,
        rules: Sequence[WrittenRule],
        window: Window,
        *,
        on_done: Callable[[RulePast], object] = lambda _: None,
    ) -> list[RulePast]:
        """Every alerting rule's past, in order; one that cannot be asked carries its error."""

        async def one(rule: WrittenRule) -> RulePast:
            async with self._slots:
                past = await self.one(rule, window)
            on_done(past)
            return past

        return await asyncio.gather(*(one(rule) for rule in rules if rule.alerting))

    async def one(self, rule: WrittenRule, window: Window) -> RulePast:
        """One rule's past; an answer that is not to be had becomes its `error`."""
        known = await asyncio.to_thread(self._recall, rule, window)
        if known is not None:
            return known
        began = time.monotonic()
        try:
            question, batch = await self._answered(rule, window)
        except (PullError, RuleError) as error:
            return RulePast(rule, window, error=str(error))
        seconds = time.monotonic() - began
        past = replace(await asyncio.to_thread(_past_of, rule, window, question, batch), cost_seconds=seconds)
        await asyncio.to_thread(self._remember, past)
        return past

    async def values(self, measured: str, name: str, window: Window) -> SeriesBatch:
        """Values of an expression over the window; infinite ones as ±1e300, NaN where absent.

        Raises: PullError, TooManySeries, RuleError beyond the budget of samples.
        """
        async with self._slots:
            return await self._ask(clamped(measured), name, window)

    async def _answered(self, rule: WrittenRule, window: Window) -> tuple[Question, SeriesBatch]:
        """The cheapest question that is answered. Raises: what the last one does."""
        *cheaper, last = questions(rule)
        for question in cheaper:
            try:
                return question, await self._ask(question.expr, rule.name, window)
            except (TooManySeries, RuleError):
                continue  # It asks for more series than the rule gives.
        return last, await self._ask(last.expr, rule.name, window)

    async def _ask(self, expr: str, name: str, window: Window) -> SeriesBatch:
        room = min(self._max_series, max(self._max_samples // window.n_steps, 1))
        batch = await self._source.range(
            expr,
            start_ms=window.start_ms,
            end_ms=window.end_ms,
            step_ms=window.step_ms,
            name=name,
            max_series=room,
        )
        if is_partial(batch.warnings):
            raise RuleError(
                RuleReason.UNREACHABLE,
                f"{name}: the source answered in part, and gaps are no quiet past: {batch.warnings[0]}",
            )
        plain = tuple(labels.without("__name__") for labels in batch.labels)
        if len(set(plain)) < len(plain):
            raise RuleError(
                RuleReason.UNHEALTHY,
                f"{name}: several series have the same labels; Prometheus refuses such an alert",
            )
        return replace(batch, labels=plain)

    def _recall(self, rule: WrittenRule, window: Window) -> RulePast | None:
        if self._memory is None:
            return None
        try:
            kept = msgspec.json.decode((self._memory / _file_name(rule, window)).read_bytes(), type=_Kept)
        except (OSError, msgspec.DecodeError):
            return None
        return RulePast(
            rule,
            window,
            tuple(LabelSet(labels) for labels in kept.labels),
            tuple(Firing(*numbers) for numbers in kept.firings),
        )

    def _remember(self, past: RulePast) -> None:
        if self._memory is None:
            return
        kept = _Kept(
            [dict(labels) for labels in past.labels],
            [(f.row, f.start_ms, f.end_ms, f.active_ms) for f in past.firings],
        )
        # What cannot be kept, in a folder of another user's, is asked for again.
        with contextlib.suppress(OSError):
            self._memory.mkdir(parents=True, exist_ok=True)
            replace_file(
                self._memory / _file_name(past.rule, past.window),
                lambda file: file.write(msgspec.json.encode(kept)),
            )


def forget_old(memory: Path, now_seconds: float) -> None:
    """Remove answers that no run has gone on from for so long."""
    for file in memory.glob("*.json"):
        with contextlib.suppress(OSError):
            if file.stat().st_mtime < now_seconds - KEPT_SECONDS:
                file.unlink()


class _Kept(msgspec.Struct):
    labels: list[dict[str, str]]
    firings: list[tuple[int, int, int, int]]


def _file_name(rule: WrittenRule, window: Window) -> str:
    question = [
        rule.expr,
        rule.for_seconds,
        rule.keep_firing_seconds,
        rule.limit,
        window.start_ms,
        window.end_ms,
        window.step_ms,
    ]
    return f"{hashlib.sha256(json.dumps(question).encode()).hexdigest()[:24]}.json"


def _past_of(rule: WrittenRule, window: Window, question: Question, batch: SeriesBatch) -> RulePast:
    found = limited_firings(
        question.active(batch),
        batch.timestamps,
        for_seconds=rule.for_seconds,
        keep_firing_seconds=rule.keep_firing_seconds,
        limit=rule.limit,
    )
    return RulePast(rule, window, batch.labels, tuple(found))
