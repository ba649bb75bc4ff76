"""Alerts ahead of others as the rules loop publishes them: tried on the past, then rendered."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from rules.predictive import GROUP, Ahead, render_ahead
from sidecar.background import Background
from sidecar.config.model import Config
from sidecar.errors import SidecarError
from sidecar.loop.forecast_thresholds import ThresholdSource
from sidecar.offload import Offload
from sidecar.telemetry import get_logger

if TYPE_CHECKING:
    from rules.document import RuleFile
    from sidecar.loop.forecast_trials import Trial

FIRST_WAIT_SECONDS = 60.0
RETRY_SECONDS = 900.0
KEEP_FIRING_SECONDS = 1800.0
USUAL_PROBABILITY = 0.5


class AheadFiles:
    """What was worth warning of when it was last tried; `files` is None until then."""

    groups = frozenset({GROUP})

    def __init__(
        self, config: Config, client: ThresholdSource, offload: Offload, *, now: Callable[[], float]
    ) -> None:
        self._ahead = config.rules.ahead
        self._thresholds = config.forecast.thresholds
        self._client = client
        self._offload = offload
        self._now = now
        self._files: list[RuleFile] | None = None
        self._log = get_logger("rules-ahead")
        self._task = Background("rules-ahead")

    def files(self) -> Sequence[RuleFile] | None:
        """The rule file of today, or none where no warning is worth it."""
        return self._files if self._ahead.enabled else ()

    def start(self) -> None:
        """Begin, where it is enabled."""
        if self._ahead.enabled:
            self._task.start(self._run())

    async def stop(self) -> None:
        """End; the rules that are published stay."""
        await self._task.stop()

    async def try_once(self) -> None:
        """Try every threshold on the past. Raises: PullError where the rules cannot be read."""
        from sidecar.loop.forecast_trials import Terms, trials

        ahead, probabilities = self._ahead, self._thresholds.probabilities
        probability = USUAL_PROBABILITY if USUAL_PROBABILITY in probabilities else min(probabilities)
        terms = Terms(
            self._thresholds.interval,
            ahead.history,
            ahead.warn,
            probability,
            ahead.rule_for,
            ahead.max_series,
        )
        tried = await trials(
            self._client,
            await self._client.rules(),
            terms,
            capacities=self._thresholds.capacities,
            end_seconds=self._now(),
            run=self._offload.run,
            on_error=lambda rule, error: self._log.info("rule not tried", rule=rule, err=str(error)),
        )
        self._files = self._rendered(tried, probability)

    def _rendered(self, tried: Sequence[Trial], probability: float) -> list[RuleFile]:
        ahead = self._ahead
        good = [trial for trial in tried if trial.may_be_published(ahead.min_precision)]
        if not good:
            return []
        return [
            render_ahead(
                [
                    Ahead(t.rule, t.measured, ">" if t.bound.above else "<", t.bound.shown, t.words)
                    for t in good
                ],
                warn_seconds=ahead.warn,
                probability=probability,
                for_seconds=ahead.rule_for,
                keep_firing_seconds=KEEP_FIRING_SECONDS,
                severity=ahead.severity,
            )
        ]

    async def _run(self) -> None:
        pause = FIRST_WAIT_SECONDS
        while True:
            await asyncio.sleep(pause)
            pause = self._ahead.every
            try:
                await self.try_once()
            except SidecarError as error:
                self._log.warning("warnings not tried, will try again", err=str(error))
                pause = min(pause, RETRY_SECONDS)
            except Exception:
                # The loop's edge: what is published stays.
                self._log.exception("trying of warnings broke off")
