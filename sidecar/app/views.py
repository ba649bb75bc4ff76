"""What the HTTP API shows of the running process."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from sidecar import __version__
from sidecar.api.views import ComponentHealth
from sidecar.app.ground import Ground
from sidecar.app.workings import Workings
from sidecar.config.load import config_hash
from sidecar.loop.warming import Warming
from sidecar.loop.watch import Watch
from sidecar.records import Episode, Incident, Response, RuleRevision
from sidecar.series import Evaluation
from sidecar.telemetry import redact_url
from webhooks.pipeline import AlertsLoop

STALE_STEPS = 5


class AppViews:
    """The API's views; reads only what the loops leave for reading.

    `workings`: the loops as they are now, since a reload replaces them.
    """

    def __init__(
        self, ground: Ground, alerts: AlertsLoop, warming: Warming, workings: Callable[[], Workings]
    ) -> None:
        self._store = ground.store
        self._wall = ground.wall
        self._alerts = alerts
        self._warming = warming
        self._workings = workings
        self._started_seconds = ground.wall()
        self._was_ready = False

    def status(self) -> Mapping[str, Any]:
        """Version, uptime, configuration hash, neighbours."""
        config = self._workings().config
        return {
            "version": __version__,
            "uptime_seconds": round(self._wall() - self._started_seconds, 3),
            "config_hash": config_hash(config),
            "prometheus": redact_url(config.prometheus.url),
            "alertmanagers": [redact_url(alertmanager.url) for alertmanager in config.alertmanagers],
            "rules_directory": str(config.rules.directory) if config.rules.directory else None,
        }

    def queries(self) -> Sequence[Mapping[str, Any]]:
        """One entry a watched query."""
        found: list[Mapping[str, Any]] = []
        errors = self._workings().metrics_loop.errors
        for watch in self._watches():
            evaluation = watch.evaluation
            entry: dict[str, Any] = {
                "name": watch.query.name,
                "expr": watch.query.expr,
                "step_seconds": watch.query.step,
                "rule": watch.query.rule,
                "timestamp_ms": evaluation.timestamp_ms if evaluation else None,
            }
            if watch.query.name in errors:
                entry["error"] = errors[watch.query.name]
            if evaluation is not None:
                present = np.isfinite(evaluation.actual)
                score = np.nan_to_num(evaluation.anomaly_score)
                entry["n_series"] = int(present.sum())
                entry["n_warming_up"] = int((present & ~np.isfinite(evaluation.anomaly_score)).sum())
                entry["n_anomalous"] = int((score > 1).sum())
                entry["worst_score"] = float(score.max()) if len(score) else 0.0
            found.append(entry)
        return found

    def series(self, query: str | None, limit: int) -> Sequence[Mapping[str, Any]]:
        """Newest judgement of each series, the most anomalous first."""
        watches = [watch for watch in self._watches() if query in (None, watch.query.name)]
        if query is not None and not watches:
            raise KeyError(query)
        rows: list[tuple[float, Evaluation, int]] = []
        for watch in watches:
            evaluation = watch.evaluation
            if evaluation is None:
                continue
            present = np.flatnonzero(np.isfinite(evaluation.actual))
            score = np.nan_to_num(evaluation.anomaly_score, nan=-1.0)
            order = present[np.argsort(-score[present], kind="stable")][:limit]
            rows.extend((float(score[row]), evaluation, int(row)) for row in order)
        rows.sort(key=lambda item: -item[0])
        return [_judgement(evaluation, row) for _, evaluation, row in rows[:limit]]

    async def incidents(
        self, state: str | None, limit: int, *, urgent_first: bool = False
    ) -> Sequence[Incident]:
        """Newest first, or the most urgent."""
        return await self._store.incidents(limit=limit, state=state, urgent_first=urgent_first)

    async def responses(self) -> Mapping[str, Response]:
        """What people did about open incidents, by their ids."""
        found = await self._store.response_store.responses(open_only=True)
        return {one.incident_id: one for one in found}

    async def incident(self, incident_id: str) -> tuple[Incident, list[Episode]] | None:
        """One incident and its episodes."""
        return await self._store.incident(incident_id)

    async def rules(self, limit: int) -> Sequence[RuleRevision]:
        """Revisions, newest first."""
        return await self._store.revisions(limit=limit)

    def ready(self) -> tuple[bool, str]:
        """Whether a first pull was scored, and if not, why."""
        loop = self._workings().metrics_loop
        # A reload makes every query anew, and the next step may be an hour away; the page stays meanwhile.
        self._was_ready = self._was_ready or loop.ready
        if self._warming.under_way:
            doing = "compiling for this machine, once"
        elif any(watch.judged_ms is not None for watch in loop.watches):
            doing = "waiting for the next step of a query"
        else:
            doing = "learning from history"
        return self._was_ready, loop.last_error or doing

    def health(self) -> Mapping[str, Callable[[], ComponentHealth]]:
        """A check for each component."""
        return {
            "metrics": self._metrics_health,
            "alerts": self._alerts_health,
            "rules": self._rules_health,
            "alertmanagers": self._alertmanagers_health,
        }

    def _metrics_health(self) -> ComponentHealth:
        workings = self._workings()
        loop = workings.metrics_loop
        now_ms = workings.clock.now() * 1000
        late = [watch.query.name for watch in loop.watches if _is_late(watch, now_ms)]
        detail = {
            "n_queries": len(loop.watches),
            "late": late,
            "no_series": [watch.query.name for watch in loop.watches if _is_empty(watch)],
            "error": loop.last_error,
            "errors": {name: words for name, words in loop.errors.items() if name},
        }
        return ComponentHealth(bool(loop.watches) and not late, detail)

    def _alerts_health(self) -> ComponentHealth:
        error = self._alerts.intake.trouble or self._alerts.last_error
        return ComponentHealth(error is None, {"error": error})

    def _rules_health(self) -> ComponentHealth:
        loop = self._workings().rules_loop
        if loop is None:
            return ComponentHealth(True, {"enabled": False})
        return ComponentHealth(loop.last_error is None, {"enabled": True, "error": loop.last_error})

    def _alertmanagers_health(self) -> ComponentHealth:
        reach = self._workings().alertmanagers
        detail = {"versions": reach.versions, "unreachable": reach.unreachable}
        return ComponentHealth(not reach.unreachable, detail)

    def _watches(self) -> Sequence[Watch]:
        return list(self._workings().metrics_loop.watches)


def _judgement(evaluation: Evaluation, row: int) -> Mapping[str, Any]:
    def number(value: float) -> float | None:
        return float(value) if np.isfinite(value) else None

    return {
        "query": evaluation.query,
        "labels": dict(evaluation.labels[row].pairs),
        "fingerprint": evaluation.labels[row].fingerprint(),
        "timestamp_ms": evaluation.timestamp_ms,
        "actual": number(evaluation.actual[row]),
        "expected": number(evaluation.expected[row]),
        "lower": number(evaluation.lower[row]),
        "upper": number(evaluation.upper[row]),
        "score": number(evaluation.anomaly_score[row]),
        "direction": int(evaluation.direction[row]),
        "confidence": number(evaluation.confidence[row]),
        "forecasts": [
            {
                "horizon_seconds": forecast.horizon_seconds,
                "yhat": number(forecast.yhat[row]),
                "lower": number(forecast.lower[row]),
                "upper": number(forecast.upper[row]),
            }
            for forecast in evaluation.forecasts
        ],
    }


def _is_empty(watch: Watch) -> bool:
    """Whether the last answer to its query had no series: its business, or a name that is misspelt."""
    return watch.evaluation is not None and not np.isfinite(watch.evaluation.actual).any()


def _is_late(watch: Watch, now_ms: float) -> bool:
    """Whether its series were not judged for some steps, or never.

    After a start or a reload a saved model goes on where it was, and its next step may be an hour away.
    """
    judged_ms = watch.evaluation.timestamp_ms if watch.evaluation else watch.judged_ms
    return judged_ms is None or now_ms - judged_ms > STALE_STEPS * watch.step_ms + 5000
