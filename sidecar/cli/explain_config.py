"""`pronoia explain-config`: what a configuration will cost, show and write, before anything runs."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sidecar.cli.options import config_option, format_option, read_config
from sidecar.cli.reach import within_reach
from sidecar.config.fields import format_duration

if TYPE_CHECKING:
    from sidecar.config.model import Config, QueryConfig
    from sidecar.prometheus.client import PrometheusClient

PROBES = (1.0, 0.5, 0.25, 0.1, 0.03, 0.01)
"""Parts of a query's history at whose beginning the server is asked whether it has anything."""

PROCESS_BYTES = 250_000_000
"""What the process takes that watches nothing: the interpreter, its libraries, compiled code."""

DAY_SECONDS = 86400.0
LEAST_SHOWN = 0.0001


@dataclass(frozen=True)
class Explained:
    """What one query will be; `error` says why nothing can be said of it."""

    query: str
    n_series: int = 0
    model_bytes: int = 0
    query_seconds: float = 0.0
    """Of one evaluation, as Prometheus says; where it does not, as seen from here."""
    query_samples: int | None = None
    """Samples that an evaluation reads; None where the server does not say."""
    query_share: float = 0.0
    """Of the time between two evaluations."""
    history_seconds: float = 0.0
    """How far the server's samples reach back, at most what the query asks for."""
    history_points: int = 0
    output_series: int = 0
    output_series_wanted: int = 0
    """Without regard to `export.max_series`; both count what stands on /synthetic."""
    scored_after_seconds: float = 0.0
    trusted_after_seconds: float = 0.0
    cpu_share: float = 0.0
    """Of one core of this machine, for judging; forecasts come on top."""
    cpu_share_beside: float = 0.0
    """What a council's members take after a step is out, and fits once a day, both at low priority."""
    rules: str = ""
    error: str = ""


@click.command("explain-config")
@click.argument("file", required=False, type=click.Path(path_type=Path, dir_okay=False))
@config_option
@format_option
def explain_config(file: Path | None, config_path: Path | None, output: str) -> None:
    """Say what each query of FILE (or --config FILE) will be, before anything runs.

    \b
    Asked of Prometheus are, for each query, its newest values twice, and whether
    there were any at up to six moments of its past. Told are: series, memory,
    time that an evaluation takes, CPU here by detector and council, series that
    are exported, when warm-up ends, and which rules would be written.

    \b
    Example:
      pronoia explain-config pronoia.yaml

    Exit codes: 0 everything fits, 1 a query fails or does not fit, 2 wrong use.
    """
    config = read_config(file or config_path)
    if not config.queries:
        click.echo("pronoia: no queries are configured; pronoia init proposes some", err=True)
        raise SystemExit(1)
    explained = asyncio.run(_explain_all(config))
    if output == "json":
        click.echo(json.dumps([asdict(one) for one in explained]))
    else:
        for one in explained:
            click.echo(_words(one))
        click.echo(_total(explained))
    fits = all(not one.error and one.output_series == one.output_series_wanted for one in explained)
    raise SystemExit(0 if fits else 1)


async def _explain_all(config: Config) -> list[Explained]:
    from sidecar.errors import PullError
    from sidecar.loop.clock import SourceClock

    found: list[Explained] = []
    room = config.export.max_series
    clock = SourceClock()
    try:
        async with within_reach(config.prometheus, on_server_time=clock.observe) as client:
            for query in config.queries:
                try:
                    one = await _explain(query, config, client, room, clock.now())
                except PullError as error:
                    one = Explained(query.name, error=str(error))
                room -= one.output_series
                found.append(one)
    except PullError as error:
        return [Explained(query.name, error=str(error)) for query in config.queries]
    return found


async def _explain(
    query: QueryConfig, config: Config, client: PrometheusClient, room: int, now_seconds: float
) -> Explained:
    from sidecar.cli.explain_cost import model_cost
    from sidecar.engine.detect.ensemble_parts import WARM_UP_SAMPLES
    from sidecar.engine.model import FULL_CONFIDENCE_SECONDS

    end_ms = round(now_seconds * 1000)
    began = time.monotonic()
    now = await client.instant(
        query.expr,
        at_ms=end_ms,
        name=query.name,
        max_series=query.max_series or config.prometheus.max_series_per_query,
    )
    elapsed = time.monotonic() - began
    cost = await client.cost(query.expr, at_ms=end_ms)
    seconds = elapsed if cost.seconds is None else cost.seconds
    reach = await _reach(query, client, end_ms)
    model = model_cost(query)
    points_a_second = now.n_series / query.step
    a_series = _columns(query, config)
    return Explained(
        query=query.name,
        n_series=now.n_series,
        model_bytes=model.bytes_shared + now.n_series * model.bytes_a_series,
        query_seconds=round(seconds, 6),
        query_samples=cost.samples,
        query_share=round(seconds / query.step, 6),
        history_seconds=reach,
        history_points=round(now.n_series * reach / query.step),
        output_series=min(now.n_series, max(room, 0) // a_series) * a_series,
        output_series_wanted=now.n_series * a_series,
        scored_after_seconds=max(WARM_UP_SAMPLES * query.step - reach, 0.0),
        trusted_after_seconds=max(FULL_CONFIDENCE_SECONDS - reach, 0.0),
        cpu_share=points_a_second * model.seconds_a_point,
        cpu_share_beside=points_a_second * model.seconds_a_point_beside + model.seconds_a_fit / DAY_SECONDS,
        rules=_rules(query, config, now.n_series, reach),
    )


async def _reach(query: QueryConfig, client: PrometheusClient, end_ms: int) -> float:
    """Seconds of the query's past at whose beginning there were samples; 0 where there are none."""
    for share in PROBES:
        at_ms = end_ms - round(query.history * share * 1000)
        found = await client.instant(f"count({query.expr})", at_ms=at_ms, name=query.name, max_series=10)
        if found.n_series:
            return query.history * share
    return 0.0


def _columns(query: QueryConfig, config: Config) -> int:
    """Exported series for one series of the source."""
    n_forecasts = 3 * len(query.forecast_horizons)
    each = {"pronoia": 6 + n_forecasts, "vmanomaly": 5 + n_forecasts, "promql_anomaly_detection": 3}
    return sum(each[name] for name in config.export.formats)


def _rules(query: QueryConfig, config: Config, n_series: int, reach: float) -> str:
    rules = config.rules
    if not rules.enabled:
        return "none: no rules.directory"
    if not query.rule:
        return "none: rule is false"
    n_sides = 2 if query.direction == "both" else 1
    words = f"group pronoia-{query.name}, {min(n_series, rules.max_series_per_rule)} series, {n_sides} side"
    words += "s" if n_sides > 1 else ""
    if n_series > rules.max_series_per_rule:
        words += f" (of {n_series}: rules.max_series_per_rule)"
    missing = rules.min_history - reach
    return words + (f", in {format_duration(round(missing))}" if missing > 0 else ", at once")


def _words(one: Explained) -> str:
    if one.error:
        return f"{one.query}\n  cannot be evaluated: {one.error}"
    warm = "at once, from history"
    if one.scored_after_seconds:
        warm = f"after {format_duration(round(one.scored_after_seconds))}"
    trusted = "at once"
    if one.trusted_after_seconds:
        trusted = f"after {format_duration(round(one.trusted_after_seconds))}"
    shown = f"{one.output_series}"
    if one.output_series < one.output_series_wanted:
        shown += f" of {one.output_series_wanted}: export.max_series is reached"
    return "\n".join(
        (
            one.query,
            f"  series    {one.n_series}",
            f"  memory    {_size(one.model_bytes)}",
            f"  cost      {_cost(one)}; {_history(one)}",
            f"  cpu       {_cpu(one)}",
            f"  exported  {shown} series at most",
            f"  scored    {warm}; with full confidence {trusted}",
            f"  rules     {one.rules}",
        )
    )


def _history(one: Explained) -> str:
    if not one.history_points:
        return "no history to learn from yet"
    points, over = f"{one.history_points:,}", format_duration(round(one.history_seconds))
    return f"at the first start {points} points, the history of {over}"


def _cost(one: Explained) -> str:
    samples = "" if one.query_samples is None else f", {one.query_samples:,} samples"
    return f"{one.query_seconds:.2g} s{samples} an evaluation, {_percent(one.query_share)} of its step"


def _cpu(one: Explained) -> str:
    beside = f", {_percent(one.cpu_share_beside)} beside it" if one.cpu_share_beside else ""
    return f"{_percent(one.cpu_share)} of a core for judging{beside}"


def _percent(share: float) -> str:
    return f"{share:.2%}" if share >= LEAST_SHOWN or not share else f"less than {LEAST_SHOWN:.2%}"


def _size(n_bytes: int) -> str:
    return f"{n_bytes / 1e6:.1f} MB" if n_bytes >= 1e5 else f"{n_bytes / 1e3:.0f} KB"


def _total(explained: list[Explained]) -> str:
    return (
        f"in all: {sum(one.n_series for one in explained)} series, "
        f"{_size(sum(one.model_bytes for one in explained))} of memory beside the process' own "
        f"{_size(PROCESS_BYTES)} (learning from weeks of history takes up to 1 GB more for a while), "
        f"{_percent(sum(one.cpu_share + one.cpu_share_beside for one in explained))} of a core, "
        f"{_percent(sum(one.query_share for one in explained))} of one query slot of Prometheus, "
        f"{sum(one.output_series for one in explained)} exported series"
    )
