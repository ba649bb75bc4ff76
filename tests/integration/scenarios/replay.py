"""Scenarios on a real Prometheus: history as blocks, pulled and judged, the generated rule evaluated."""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import numpy as np
import yaml
from prometheus_client import CollectorRegistry

from rules.document import render
from rules.learn import learn
from sidecar.config.business import PauseConfig, TrafficConfig
from sidecar.config.model import QueryConfig, RulesConfig, SourceConfig
from sidecar.engine.model import QueryModel
from sidecar.engine.surroundings import Surroundings
from sidecar.prometheus.client import PrometheusClient
from sidecar.prometheus.session import PullMetrics
from sidecar.series import BoolArray, Evaluation, FloatArray, LabelSet, SeriesBatch
from tests.integration.scenarios.incidents import (
    DAY,
    N_STEPS,
    ONSET,
    START_SECONDS,
    STEP_SECONDS,
    Scenario,
)
from tests.integration.servers import Prometheus, binary, get_json

EXPR = "sum by (scenario, pod) (scenario_load or rate(scenario_requests_total[5m]))"
SHARE_EXPR = (
    "sum by (scenario, pod) (rate(scenario_errors_total[5m])) "
    "/ sum by (scenario, pod) (rate(scenario_served_total[5m]))"
)
SERVED_EXPR = "sum by (scenario, pod) (increase(scenario_served_total[5m]))"
QUERY = QueryConfig(name="scenario", expr=EXPR, step=STEP_SECONDS, rule_for=300, forecast_horizons=())
SHARE_QUERY = QueryConfig(
    name="scenario_errors",
    expr=SHARE_EXPR,
    step=STEP_SECONDS,
    rule_for=300,
    forecast_horizons=(),
    direction="above",
    lower_bound=0,
    traffic=TrafficConfig(expr=SERVED_EXPR, min_events=20),
)
RULES = RulesConfig(directory=Path("/nowhere"), evaluation_interval=STEP_SECONDS, max_series_per_rule=500)
FOR_STEPS = 5

SCRAPED_AFTER_SECONDS, EVALUATED_AFTER_SECONDS = 15, 30
"""After each minute's samples pronoia's judgement is scraped, and then the rules are evaluated."""

FLAGS = ("--query.lookback-delta=50s",)
"""Blocks from text carry no staleness markers; a series must be gone a minute after its last sample."""

FIRST = ONSET - DAY
"""The step from which alerts are looked at: a clean day comes first."""

Samples = tuple[Mapping[str, str], FloatArray, FloatArray]
"""Labels, seconds, values."""


@dataclass(frozen=True)
class Firing:
    """When alerts fire, each minute from `FIRST` on; by scenario's name, and by alert."""

    by_scenario: dict[str, BoolArray]

    def of(self, scenario: Scenario) -> BoolArray:
        """Shape (N_STEPS - FIRST,)."""
        return self.by_scenario.get(scenario.name, np.zeros(N_STEPS - FIRST, dtype=np.bool_))


def write_blocks(data: Path, families: Mapping[str, Iterable[Samples]]) -> None:
    """Samples as blocks in a Prometheus' data directory; before it starts."""
    page = data.parent / "backfill.om"
    with page.open("w") as file:
        for name, series in families.items():
            file.writelines(_lines(name, series))
        file.write("# EOF\n")
    command = ["tsdb", "create-blocks-from", "openmetrics", "--max-block-duration=744h", str(page), str(data)]
    subprocess.run([binary("promtool"), *command], check=True, capture_output=True)
    page.unlink()


def _lines(name: str, series: Iterable[Samples]) -> Iterator[str]:
    counter = name.endswith("_total")
    yield f"# TYPE {name.removesuffix('_total')} {'counter' if counter else 'gauge'}\n"
    for labels, seconds, values in series:
        head = LabelSet({"__name__": name, **labels}).selector()
        for at in np.flatnonzero(~np.isnan(values)).tolist():
            yield f"{head} {float(values[at])!r} {float(seconds[at])!r}\n"  # promtool reads `inf` too.


def exposed(scenarios: Sequence[Scenario]) -> dict[str, list[Samples]]:
    """What the platform exposes in these scenarios: gauges, and counters from zero at each pod's start."""
    seconds = START_SECONDS + STEP_SECONDS * np.arange(N_STEPS, dtype=np.float64)
    counters = ("scenario_requests_total", "scenario_served_total", "scenario_errors_total")
    found: dict[str, list[Samples]] = {name: [] for name in ("scenario_load", *counters)}
    for scenario in scenarios:
        for pod, values in scenario.pods.items():
            labels = {"scenario": scenario.name, "pod": pod}
            if scenario.errors is not None:
                found["scenario_served_total"].append((labels, seconds, np.cumsum(values)))
                found["scenario_errors_total"].append((labels, seconds, np.cumsum(scenario.errors)))
            elif scenario.incident.counter:
                alive = np.isfinite(values)
                total = np.where(alive, np.cumsum(np.nan_to_num(values)) * STEP_SECONDS, np.nan)
                found["scenario_requests_total"].append((labels, seconds, total))
            else:
                found["scenario_load"].append((labels, seconds, values))
    return found


def pauses(scenarios: Sequence[Scenario]) -> list[PauseConfig]:
    """What the configuration says of the scenarios' maintenance."""

    def at(minutes: int) -> datetime:
        return datetime.fromtimestamp(START_SECONDS + STEP_SECONDS * (ONSET + minutes), UTC)

    return [
        PauseConfig(
            match={"scenario": re.escape(one.name)}, start=at(it.begin), end=at(it.end), learn=it.learn
        )
        for one in scenarios
        if (it := one.incident.maintenance) is not None
    ]


def pull(prometheus: Prometheus, expr: str) -> SeriesBatch:
    """The whole history of an expression, as the sidecar reads it."""

    async def ask() -> SeriesBatch:
        source = SourceConfig(url=prometheus.url)
        async with PrometheusClient(source, metrics=PullMetrics(CollectorRegistry())) as client:
            return await client.range(
                expr,
                start_ms=START_SECONDS * 1000,
                end_ms=(START_SECONDS + STEP_SECONDS * (N_STEPS - 1)) * 1000,
                step_ms=STEP_SECONDS * 1000,
                name="scenario",
                max_series=1000,
            )

    return asyncio.run(ask())


@dataclass
class Replay:
    """A model that learnt until `FIRST` and judged each minute since; the rule that it gave at `FIRST`."""

    query: QueryConfig
    rules: list[dict[str, Any]]
    evaluations: list[Evaluation]

    @classmethod
    def of(
        cls,
        query: QueryConfig,
        history: SeriesBatch,
        traffic: SeriesBatch | None,
        pauses: Sequence[PauseConfig],
    ) -> Replay:
        """Learn and judge, as the sidecar would have live."""
        model = QueryModel(query)
        model.surroundings = Surroundings(query, pauses=pauses)
        model.fit(_columns(history, 0, FIRST))
        band = model.learned_band()
        document = yaml.safe_load(render(learn(band, query, RULES), RULES).text)
        found = []
        for at in range(FIRST, history.n_steps):
            if traffic is not None:
                model.surroundings.observe_traffic(_columns(traffic, at, at + 1))
            evaluation = model.update(_columns(history, at, at + 1))
            if evaluation is not None:
                found.append(evaluation)
        return cls(query, document["groups"][0]["rules"], found)

    def accepted(self, scenario: Scenario) -> list[int]:
        """Minutes from `FIRST` on at which a shift of this scenario's series was accepted."""
        return [
            at
            for at, evaluation in enumerate(self.evaluations)
            if evaluation.accepted is not None
            and any(
                evaluation.labels[row].get("scenario") == scenario.name
                for row in np.flatnonzero(evaluation.accepted)
            )
        ]

    def exported(self) -> dict[str, list[Samples]]:
        """What pronoia's page showed, minute by minute."""
        everyone = sorted({labels for one in self.evaluations for labels in one.labels if labels}, key=str)
        row_of = {labels: row for row, labels in enumerate(everyone)}
        names = ("expected_lower", "expected_upper", "anomaly_score", "series_absent")
        shown = {name: np.full((len(everyone), len(self.evaluations)), np.nan) for name in names}
        for at, one in enumerate(self.evaluations):
            named = [row for row, labels in enumerate(one.labels) if labels]
            rows = [row_of[one.labels[row]] for row in named]
            absent = np.where(one.absent, 1.0, np.nan) if one.absent is not None else np.nan * one.actual
            for name, column in zip(names, (one.lower, one.upper, one.anomaly_score, absent), strict=True):
                there = np.isfinite(one.actual) | (name == "series_absent")
                shown[name][rows, at] = np.where(there, column, np.nan)[named]
        seconds = np.array([one.timestamp_ms / 1000 + SCRAPED_AFTER_SECONDS for one in self.evaluations])
        return {
            f"pronoia_{name}": [
                ({**labels, "query": self.query.name}, seconds, row)
                for labels, row in zip(everyone, values, strict=True)
            ]
            for name, values in shown.items()
        }


def _columns(batch: SeriesBatch, first: int, end: int) -> SeriesBatch:
    """Some columns with the series that have a value there, as a pull at that time would give them."""
    values = batch.values[:, first:end]
    there = np.isfinite(values).any(axis=1)
    labels = tuple(label_set for label_set, is_there in zip(batch.labels, there, strict=True) if is_there)
    return SeriesBatch(batch.query, labels, batch.timestamps[first:end], values[there])


def firing(prometheus: Prometheus, expressions: Iterable[str]) -> Firing:
    """When alerts with these expressions and `for: 5m` fire, evaluated each minute."""
    start = START_SECONDS + STEP_SECONDS * FIRST + EVALUATED_AFTER_SECONDS
    n_steps = N_STEPS - FIRST
    fires: dict[str, BoolArray] = {}
    for expr in expressions:
        question = urlencode(
            {
                "query": expr,
                "start": start,
                "end": start + STEP_SECONDS * (n_steps - 1),
                "step": STEP_SECONDS,
                "timeout": "10m",
            }
        )
        answer = get_json(f"{prometheus.url}/api/v1/query_range?{question}")
        for series in answer["data"]["result"]:
            active = np.zeros(n_steps, dtype=np.bool_)
            active[[round((at - start) / STEP_SECONDS) for at, _ in series["values"]]] = True
            name = series["metric"]["scenario"]
            before = fires.get(name, np.zeros(n_steps, dtype=np.bool_))
            fires[name] = before | held(active)
    return Firing(fires)


def held(active: BoolArray) -> BoolArray:
    """Where an alert with `for: 5m` fires whose expression is true at these minutes."""
    run = np.zeros(len(active), dtype=np.int64)
    count = 0
    for at, is_active in enumerate(active.tolist()):
        count = count + 1 if is_active else 0
        run[at] = count
    return run > FOR_STEPS


def restarted(prometheus: Prometheus) -> Prometheus:
    """The same server after a restart: blocks that were written meanwhile are read."""
    prometheus.stop()
    shutil.rmtree(prometheus.data / "wal", ignore_errors=True)
    prometheus.start()
    return prometheus


def replay(prometheus: Prometheus, scenarios: Sequence[Scenario]) -> tuple[Firing, list[Replay]]:
    """Scenarios through pronoia and its generated rules, on a Prometheus that has not been started."""
    write_blocks(prometheus.data, exposed(scenarios))
    prometheus.start()
    done = []
    for query in (QUERY, SHARE_QUERY):
        history = pull(prometheus, query.expr)
        if not history.n_series:
            continue
        traffic = pull(prometheus, query.traffic.expr) if query.traffic is not None else None
        done.append(Replay.of(query, history, traffic, pauses(scenarios)))
    pages = [one.exported() for one in done]
    write_blocks(prometheus.data, {name: [one for page in pages for one in page[name]] for name in pages[0]})
    restarted(prometheus)
    alerts = [rule["expr"] for one in done for rule in one.rules if "alert" in rule]
    return firing(prometheus, alerts), done
