"""What judging a query depends on beside the query itself: traffic, deployments, resets of counters."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from sidecar.config.business import BusinessConfig
from sidecar.config.model import QueryConfig
from sidecar.errors import PullError, PullReason
from sidecar.loop.resets import resets_expr
from sidecar.loop.upheavals import Upheavals
from sidecar.series import LabelSet, SeriesBatch
from sidecar.telemetry import get_logger

if TYPE_CHECKING:  # The engine is imported in a worker thread: numba costs half a second.
    from sidecar.engine.model import QueryModel

Pull = Callable[[str, int, int], Awaitable[SeriesBatch]]
"""The values of an expression between two times, both included, ms."""

OF_THE_EXPRESSION = (PullReason.BAD_QUERY, PullReason.TOO_MANY_SERIES, PullReason.TOO_LARGE)
"""Waiting does not help against these, so the query is judged without what was asked for."""


class AskedSurroundings:
    """Asks a source for the surroundings of the steps that are judged next, and tells the model."""

    def __init__(
        self, query: QueryConfig, business: BusinessConfig, upheavals: Upheavals, pull: Pull
    ) -> None:
        self._query, self._business, self._upheavals, self._pull = query, business, upheavals, pull
        self._compared: tuple[tuple[LabelSet, ...], tuple[LabelSet, ...]] | None = None
        """Labels of traffic and of series that were held against each other last."""
        self._knows_deployments = False
        self._refused: dict[str, str] = {}
        """Why an expression was refused when it was last asked for, by what it is."""
        self._log = get_logger("watch").bind(query=query.name)

    async def look(self, model: QueryModel, start_ms: int, end_ms: int) -> None:
        """Ask for all that is configured. Raises: PullError where it may be had later; so may the query."""
        if self._query.traffic is not None:
            traffic = await self._ask("traffic", self._query.traffic.expr, start_ms, end_ms)
            if traffic is not None:
                model.surroundings.observe_traffic(traffic)
                self._compare(traffic.labels, model.index.labels)
        if self._business.deployments is not None:
            # At a start those of before still count, and are not part of what was saved.
            since_ms = start_ms if self._knows_deployments else start_ms - self._deployments_count_ms()
            deployments = await self._ask("deployments", self._business.deployments.expr, since_ms, end_ms)
            if deployments is not None:
                self._knows_deployments = True
                model.surroundings.observe_deployments(deployments)
        if self._query.counters is not None:
            expr = resets_expr(self._query.counters, self._query.step)
            resets = await self._ask("counters", expr, end_ms, end_ms)
            if resets is not None:
                self._upheavals.observe_resets(resets, expected=model.surroundings.changing(end_ms))

    def _deployments_count_ms(self) -> int:
        """How long a deployment counts, in whole steps."""
        assert self._business.deployments is not None
        return math.ceil(self._business.deployments.lasts / self._query.step) * round(self._query.step * 1000)

    def _compare(self, traffic: tuple[LabelSet, ...], series: tuple[LabelSet, ...]) -> None:
        """Warn where no series finds traffic by its labels: that counts as none, and nothing is flagged."""
        before, self._compared = self._compared, (traffic, series)
        if before is not None and before[0] is traffic and before[1] is series:
            return
        if _fits(traffic, series) or (before is not None and not _fits(*before)):
            return
        self._log.warning(
            "no series has traffic by its labels, so none is flagged",
            traffic=traffic[0].selector() if traffic else "no series",
            series=next(one.selector() for one in series if one),
        )

    async def _ask(self, what: str, expr: str, start_ms: int, end_ms: int) -> SeriesBatch | None:
        """None where the expression itself is refused: told once, and it must not blind the query."""
        try:
            found = await self._pull(expr, start_ms, end_ms)
        except PullError as error:
            if error.reason not in OF_THE_EXPRESSION:
                raise
            if self._refused.get(what) != str(error):
                self._log.warning("judged without what is not answered", what=what, expr=expr, err=str(error))
            self._refused[what] = str(error)
            return None
        self._refused.pop(what, None)
        return found


def _fits(traffic: tuple[LabelSet, ...], series: tuple[LabelSet, ...]) -> bool:
    """Whether a series has its traffic among these, or all have one without labels, or there is no series."""
    known = {one.without("__name__") for one in traffic}
    here = [one for one in series if one]
    return not here or LabelSet() in known or any(one.without("__name__") in known for one in here)
