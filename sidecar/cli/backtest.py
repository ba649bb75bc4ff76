"""`pronoia backtest`: what pronoia would have flagged in a query's past."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import numpy as np

from sidecar.cli.configured import configured, judge_configured
from sidecar.cli.options import config_option, format_option
from sidecar.cli.query_history import QueryHistory, query_options, read_query
from sidecar.cli.score import Judging, Scored, judge
from sidecar.durable import write_named
from sidecar.errors import SidecarError
from sidecar.series import Expectation, Score, SeriesBatch

MAX_EVENTS = 20


@click.command()
@query_options
@click.option(
    "--as",
    "configured_name",
    metavar="NAME",
    help="In place of --query: the configured query of this name, with its step, budget, bounds, calendars, "
    "pauses and traffic.",
)
@click.option(
    "--name", default="backtest", show_default=True, help="Value of the label `query` in the output."
)
@click.option(
    "--false-alarms",
    type=click.FloatRange(min=0, min_open=True),
    help="Flags that you accept a series and 30 days.  [default: by step, 8 at 1m, 0.7 at 1h]",
)
@click.option("--direction", type=click.Choice(["both", "above", "below"]), default="both", show_default=True)
@click.option("--min", "floor", type=float, help="The series cannot be below this (0 for a ratio).")
@click.option("--max", "ceiling", type=float, help="The series cannot be above this (1 for a ratio).")
@click.option("--plot", type=click.Path(path_type=Path), help="Draw the worst series: a PNG or SVG file.")
@click.option(
    "--openmetrics",
    type=click.Path(path_type=Path),
    help="Write the judged history for `promtool tsdb create-blocks-from openmetrics`.",
)
@config_option
@format_option
def backtest(
    configured_name: str | None,
    name: str,
    false_alarms: float | None,
    direction: str,
    floor: float | None,
    ceiling: float | None,
    plot: Path | None,
    openmetrics: Path | None,
    config_path: Path | None,
    output: str,
    **query: Any,
) -> None:
    """Run over a query's past as if it were live, and tell what would have been flagged.

    Every point is judged by what came before it and nothing after. The first 20
    points of a series teach only, so begin some days before what you want to see.

    \b
    Examples:
      pronoia backtest --query 'sum by (job) (rate(http_requests_total[5m]))' --start 14d --step 1m
      pronoia backtest --config pronoia.yaml --as cdn_errors --start 7d
      pronoia backtest --query up --start 2026-10-01 --end 2026-10-15 --plot flagged.png
      pronoia backtest --query 'node_load1' --openmetrics past.om
        promtool tsdb create-blocks-from openmetrics past.om data/     then copy the blocks to Prometheus

    Exit codes: 0 nothing would have been flagged, 1 something would have been or it failed, 2 wrong use.
    """
    judging = Judging(false_alarms, direction, floor, ceiling)
    if configured_name is not None:
        if query["expr"] is not None:
            raise click.UsageError("give either --query EXPR or --as NAME")
        config, settings = configured(configured_name, config_path)
        query |= {"expr": settings.expr, "query_step": settings.step}
    history = QueryHistory.of(query)
    if history is None:
        raise click.UsageError("give --query EXPR or --as NAME, and --start for how far back")
    try:
        if configured_name is not None:
            batch, found = judge_configured(history, config, settings, config_path)
        else:
            batch = read_query(history, config_path)
            everything = np.ones(batch.n_steps, dtype=np.bool_)
            found = [judge(batch.timestamps, row, everything, judging) for row in batch.values]
        if not batch.n_series:
            click.echo(f"pronoia: {history.nothing}", err=True)
            raise SystemExit(1)
        names = [_title(dict(labels)) for labels in batch.labels]
        if openmetrics is not None:
            _write(openmetrics, name, batch, found)
        if plot is not None:
            from sidecar.cli.backtest_plot import draw

            draw(plot, list(zip(names, found, strict=True)))
    except (SidecarError, OSError) as error:
        click.echo(f"pronoia: {error}", err=True)
        raise SystemExit(1) from error
    summaries = [one.summary(title) for title, one in zip(names, found, strict=True)]
    if output == "json":
        click.echo(json.dumps(summaries))
    else:
        _table(summaries, batch)
    raise SystemExit(1 if any(summary["flagged"] for summary in summaries) else 0)


def _title(labels: dict[str, str]) -> str:
    metric = labels.pop("__name__", "")
    inner = ",".join(f'{key}="{value}"' for key, value in labels.items())
    return f"{metric}{{{inner}}}" if inner or not metric else metric


def _write(path: Path, name: str, batch: SeriesBatch, found: list[Scored]) -> None:
    from exporters.backfill import lines

    nothing = np.zeros((1, batch.n_steps))
    no_side = nothing.astype(np.int8)
    judged = (
        (
            labels,
            one.values,
            Expectation(one.yhat[None, :], one.lower[None, :], one.upper[None, :], 0.99),
            Score(one.score[None, :], no_side, nothing, one.shape[None, :]),
        )
        for labels, one in zip(batch.labels, found, strict=True)
    )
    pieces = (line.encode() for line in lines(name, batch.timestamps, judged))
    write_named(path, lambda file: file.writelines(pieces))


def _table(summaries: list[dict[str, Any]], batch: SeriesBatch) -> None:
    events = [
        (event["max_score"], event["from"], event["to"], "+".join(event["reasons"]), summary["series"])
        for summary in summaries
        for event in summary["events"]
    ]
    flagged = sum(summary["flagged"] for summary in summaries)
    judged = sum(summary["scored"] for summary in summaries)
    click.echo(
        f"{len(batch.labels)} series, {judged} points judged, {flagged} flagged in {len(events)} events"
    )
    for worst, begin, end, why, series in sorted(events, reverse=True)[:MAX_EVENTS]:
        click.echo(f"  {begin} – {end}  score {worst:8.2f}  {why:12}  {series}")
    if len(events) > MAX_EVENTS:
        click.echo(f"  and {len(events) - MAX_EVENTS} more; --format json lists all")
