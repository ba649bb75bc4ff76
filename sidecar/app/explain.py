"""Builds what explains anomalies and data: sinks beside the scrape page, their saving, their endpoints."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from aiohttp import web

from sidecar.api.explain import Explanations
from sidecar.app.ground import Ground
from sidecar.config.model import Config
from sidecar.errors import StoreError
from sidecar.loop import contributions as parts
from sidecar.loop.explain import explain, explain_open
from sidecar.loop.journal import Journal
from sidecar.loop.quality import QualityMetrics, QualitySink
from sidecar.loop.watch import Watch
from sidecar.ports import Sink
from sidecar.prometheus.client import PrometheusClient
from sidecar.rounds import Rounds
from sidecar.series import LabelSet

HOUR_MS = 3_600_000


class Explaining:
    """The journal and the data's quality in one process, and who asks for them.

    `config`, `watches` and `client` tell what is so now, as a reload replaces them;
    `said`: what people said of a series, in words.
    """

    def __init__(
        self,
        journal: Journal,
        ground: Ground,
        *,
        config: Callable[[], Config],
        watches: Callable[[], Sequence[Watch]],
        client: Callable[[], PrometheusClient],
        said: Callable[[str, LabelSet], str],
    ) -> None:
        self.journal = journal
        self._quality = QualitySink(QualityMetrics(ground.registry), self._most_series, journal.directory)
        self._offload = ground.offload
        self._config = config
        self._watches = watches
        self._client = client
        self._said = said
        self._ending = False
        self._rounds = Rounds("explain", self._save, pause=self._pause, undone="past events not saved")

    @property
    def sinks(self) -> tuple[Sink, ...]:
        """What takes evaluations."""
        return self.journal, self._quality

    def drifting(self, query: str) -> float:
        """Part of a query's series whose expectations are off now, or whose input has changed, 0..1."""
        return self._quality.drifting(query)

    def _most_series(self, query: str) -> int:
        config = self._config()
        stated = next((one.max_series for one in config.queries if one.name == query), None)
        return stated or config.prometheus.max_series_per_query

    async def quality(self) -> Sequence[Mapping[str, Any]]:
        """How good each query's data are, the worst first."""
        return await self._offload.run(self._quality.report)

    def add_routes(self, router: web.UrlDispatcher) -> None:
        """Register the endpoints."""
        Explanations(self).add_routes(router)

    def start(self) -> None:
        """Begin to save what is remembered, as often as the models are saved."""
        self._rounds.start(after_seconds=self._pause())

    async def stop(self) -> None:
        """Save once more, end."""
        self._ending = True
        if self._rounds.started:
            await self._rounds.stop()
            await self._rounds.once()

    async def open(self, query: str | None, limit: int) -> Sequence[Mapping[str, Any]]:
        """Every open anomaly, the worst first; see `api.explain.Explainer`."""
        runbooks = self._config().runbooks
        explained = await self._offload.run(explain_open, self.journal, query, limit, runbooks)
        found = [dict(one) for one in explained]
        for one in found:
            self._add_feedback(one)
        return found

    async def one(self, query: str, fingerprint: str, *, contributions: bool) -> Mapping[str, Any]:
        """One series; see `api.explain.Explainer`."""
        runbooks = self._config().runbooks
        found = dict(await self._offload.run(explain, self.journal, query, fingerprint, runbooks))
        self._add_feedback(found)
        expr = next((watch.query.expr for watch in self._watches() if watch.query.name == query), None)
        if not contributions or expr is None:  # Amid a reload it is not known yet what is watched.
            return found
        now_ms = found["timestamp_ms"]
        step_ms = max(found["step_ms"], 1000)
        began = found["since_ms"]
        before_ms = now_ms - HOUR_MS if began is None else began - 2 * step_ms
        labels = LabelSet(found["labels"])
        found["contributions"] = await parts.contributions(
            self._client(), expr, labels, now_ms=now_ms, before_ms=before_ms
        )
        found["text"] = " ".join(filter(None, (found["text"], parts.in_words(found["contributions"]))))
        return found

    def _add_feedback(self, found: dict[str, Any]) -> None:
        """Say what people said of the series, and what became of it."""
        found["feedback"] = self._said(found["query"], LabelSet(found["labels"]))
        found["text"] = " ".join(filter(None, (found["text"], found["feedback"])))

    def _pause(self) -> float:
        return self._config().store.snapshot_interval

    async def _save(self) -> None:
        try:
            await self._offload.run(self.journal.save)
            await self._offload.run(partial(self._quality.save, all_of_them=self._ending))
        except OSError as error:
            raise StoreError(str(error)) from error
