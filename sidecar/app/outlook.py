"""What the HTTP API tells of the time ahead."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from sidecar.app.workings import Workings
from sidecar.offload import Offload
from sidecar.series import SeriesBatch

TREND_STEP_SECONDS = 3600.0


class SidecarOutlook:
    """What the API tells of the time ahead; see `api.outlook.Outlook`."""

    def __init__(self, workings: Callable[[], Workings], offload: Offload) -> None:
        self._workings = workings
        self._offload = offload

    def thresholds(self, limit: int) -> Sequence[Mapping[str, Any]]:
        """Times until thresholds, the nearest first."""
        etas = sorted(self._workings().thresholds.etas, key=lambda eta: eta.seconds)
        return [
            {
                "rule": eta.rule,
                "threshold": eta.threshold,
                "labels": dict(eta.labels),
                "probability": eta.probability,
                "seconds": eta.seconds,
            }
            for eta in etas[:limit]
        ]

    def risks(self, limit: int) -> Mapping[str, Any]:
        """How likely incidents are, or why that is not known; and how past predictions did."""
        loop = self._workings().risk
        learnt = loop.learnt
        return {
            "silent": "nothing was learnt yet" if learnt is None else learnt.silent,
            "with_signals": learnt is not None and learnt.with_signals,
            "trials": [] if learnt is None else [asdict(trial) for trial in learnt.trials],
            "risks": [asdict(risk) for risk in loop.risks[:limit]],
        }

    async def trends(self, query: str, days: int) -> Sequence[Mapping[str, Any]]:
        """The trend of each series of a watched query, from its history by the hour."""
        workings = self._workings()
        watched = {watch.query.name: watch.query for watch in workings.metrics_loop.watches}[query]
        end_ms = workings.clock.last_step_ms(TREND_STEP_SECONDS, watched.offset)
        batch = await workings.client.history(
            watched.expr,
            start_ms=end_ms - days * 86_400_000,
            end_ms=end_ms,
            step_ms=round(TREND_STEP_SECONDS * 1000),
            name=query,
            max_series=watched.max_series or workings.config.prometheus.max_series_per_query,
        )
        return await self._offload.run(_trends, batch)


def _trends(batch: SeriesBatch) -> list[dict[str, Any]]:
    from sidecar.engine.trends import trends

    return [trend.document() for trend in trends(batch)]
