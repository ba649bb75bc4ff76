"""Asks Prometheus for the series of its alerts: what fires now, what fired last when, and what has ended."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Protocol

from sidecar.errors import PullError, PullReason
from sidecar.prometheus.selector import selector_of
from sidecar.records import AlertEvent, Episode
from sidecar.series import LabelSet, SeriesBatch
from webhooks.reconcile.differences import ABSENT_LOOKS, ended
from webhooks.reconcile.evaluated import Evaluated, Fires

SAMPLED = "timestamp(ALERTS)"
SINCE = "ALERTS_FOR_STATE + 0"
"""The value is when the condition began to hold; the sum leaves the metric's name out."""

LOOK_BACK = "1d"
MAX_SERIES = 100_000
NAMES_PER_QUERY = 50


class Source(Protocol):
    """What is asked of Prometheus."""

    async def instant(self, expr: str, *, at_ms: int, name: str, max_series: int) -> SeriesBatch:
        """The value of each series at one instant."""
        ...

    async def external_labels(self) -> Mapping[str, str]:
        """Labels that it adds to what it sends elsewhere."""
        ...


class AlertsSeries:
    """`ALERTS` and `ALERTS_FOR_STATE` of one Prometheus. Every call may raise PullError."""

    def __init__(self, source: Source, *, now: Callable[[], float]) -> None:
        self._source = source
        self._now = now

    async def look(self) -> Evaluated:
        """What is pending and what fires now."""
        external = await self._source.external_labels()
        since, sampled = await self._ask(SINCE), await self._ask(SAMPLED)
        return await asyncio.to_thread(_evaluated, since, sampled, external)

    async def last_fired(
        self, wanted: Collection[LabelSet], external: Mapping[str, str]
    ) -> dict[LabelSet, int]:
        """When each of these fired last within a day, in nanoseconds; those that did not are left out.

        To a minute's accuracy; 0 is for less than a minute.
        """
        found: dict[LabelSet, int] = {}
        names = sorted({labels.get("alertname", "") for labels in wanted})
        for first in range(0, len(names), NAMES_PER_QUERY):
            firing = f"ALERTS{_firing(names[first : first + NAMES_PER_QUERY])}"
            batch = await self._ask(
                f"max_over_time(timestamp({firing})[{LOOK_BACK}:1m]) "
                f"or 0 * last_over_time({firing}[{LOOK_BACK}])"
            )
            found |= await asyncio.to_thread(_among, wanted, batch, external)
        return found

    async def _ask(self, expr: str) -> SeriesBatch:
        at_ms = int(self._now() * 1000)
        batch = await self._source.instant(expr, at_ms=at_ms, name="alerts", max_series=MAX_SERIES)
        if batch.warnings:
            # Of several stores one may be missing, and what is absent from the others proves nothing.
            raise PullError(PullReason.BAD_RESPONSE, f"{expr}: {batch.warnings[0]}")
        return batch


class ProvenEnds:
    """Ends of alerts that fired in this Prometheus once, and have no series there at two looks.

    One that never did is another's, or is relabelled on its way; its absence says nothing.
    """

    def __init__(self, series: AlertsSeries) -> None:
        self._series = series
        self._absent: dict[LabelSet, int] = {}
        self._fired: dict[LabelSet, int] = {}
        self._foreign: set[LabelSet] = set()

    async def among(self, gone: Mapping[LabelSet, Episode], evaluated: Evaluated) -> list[AlertEvent]:
        """The ends among alerts without a series, one look after the other.

        Raises: PullError.
        """
        self._absent = {series: self._absent.get(series, 0) + 1 for series in gone}
        due = {series for series, n_looks in self._absent.items() if n_looks >= ABSENT_LOOKS}
        unproven = due - self._fired.keys() - self._foreign
        if unproven:
            found = await self._series.last_fired(unproven, evaluated.external)
            self._fired |= found
            self._foreign |= unproven - found.keys()
        ends = [
            ended(gone[series], self._fired[series] or gone[series].last_seen_ns)
            for series in due & self._fired.keys()
        ]
        now = {series: fires.sampled_ns for series, fires in evaluated.firing.items()}
        self._fired = now | {series: at for series, at in self._fired.items() if series in gone}
        self._foreign &= gone.keys()
        return ends


def _evaluated(since: SeriesBatch, sampled: SeriesBatch, external: Mapping[str, str]) -> Evaluated:
    began = dict(_values(since, external))
    firing: dict[LabelSet, Fires] = {}
    pending: set[LabelSet] = set()
    for labels, at in _values(sampled, external):
        series = labels.without("alertstate")
        if labels.get("alertstate") == "firing":
            firing[series] = Fires(_ns(began.get(series, at)), _ns(at))
        else:
            pending.add(series)
    return Evaluated(firing, pending, external)


def _among(
    wanted: Collection[LabelSet], batch: SeriesBatch, external: Mapping[str, str]
) -> dict[LabelSet, int]:
    """When each of the wanted fired last, in nanoseconds."""
    fired = ((labels.without("alertstate"), at) for labels, at in _values(batch, external))
    return {series: _ns(at) for series, at in fired if series in wanted}


def _firing(names: Iterable[str]) -> str:
    any_of = "|".join(re.escape(name) for name in names)
    return selector_of([("alertstate", "=", "firing"), ("alertname", "=~", any_of)])


def _values(batch: SeriesBatch, external: Mapping[str, str]) -> Iterable[tuple[LabelSet, float]]:
    """Labels as the server's own series have them, and values."""
    for row, labels in enumerate(batch.labels):
        own = labels.without(*(name for name, value in external.items() if labels.get(name) == value))
        yield own, float(batch.values[row, -1])


def _ns(seconds: float) -> int:
    return round(seconds * 1000) * 1_000_000
