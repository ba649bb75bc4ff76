"""`pronoia models`: which forecasting models there are, and how they do on given series."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from sidecar.cli.forecast import Duration
from sidecar.cli.models_detect import COMMANDS as MODELS_THAT_JUDGE
from sidecar.cli.models_detect import show_trial
from sidecar.cli.options import config_option, data_option, format_option, series_option
from sidecar.cli.query_history import QueryHistory, query_options, read_query
from sidecar.errors import SidecarError
from sidecar.tables import read_table

if TYPE_CHECKING:
    from sidecar.engine.forecast.compare import Case, Standing


@click.group()
def models() -> None:
    """Models that forecast: compare them on your own series. Models that judge: versions, challengers."""


for _command in MODELS_THAT_JUDGE:
    models.add_command(_command)


@models.command()
@click.argument("watched", metavar="[QUERY]", required=False)
@series_option
@query_options
@click.option("--horizon", type=Duration(), default="24h", show_default=True, help="How far ahead.")
@click.option("--level", type=click.FloatRange(1, 99.9), default=95, show_default=True, help="Percent.")
@click.option(
    "--origins", type=click.IntRange(1, 64), default=6, show_default=True, help="Moments to try from."
)
@click.option("--budget", type=Duration(), default="1m", show_default=True, help="Time for all of it.")
@click.option("--model", "chosen", multiple=True, help="Only this model; may be repeated.  [default: all]")
@config_option
@data_option
@format_option
def compare(
    watched: str | None,
    source: Path | None,
    horizon: float,
    level: float,
    origins: int,
    budget: float,
    chosen: tuple[str, ...],
    config_path: Path | None,
    data_directory: Path | None,
    output: str,
    **query: Any,
) -> None:
    """Compare champion and challenger of a watched QUERY, live; or forecasting models on given series.

    With QUERY: how both have judged the same points since the challenger was put on
    trial by a running pronoia. Exit codes: 0 the challenger is better, 1 it is not.

    Without: forecasting models by rolling-origin error on the newest quarter of series.

    Each model forecasts from the same past moments, with what was known then.
    After the first round, the second, the fourth the worse half is dropped, and
    what is known when the budget is used up (or at Ctrl-C) is printed.

    ratio: error relative to "yesterday again" from the same moments, geometric
    mean, below 1 is better. MASE and MSIS (interval score): in units of the
    error that "yesterday again" had on the history.

    \b
    Examples:
      pronoia models compare checkout_latency
      pronoia models compare --in history/ --horizon 1h
      pronoia models compare --query 'sum(rate(http_requests_total[5m]))' --budget 5m
    """
    history = QueryHistory.of(query)
    if watched is not None:
        if source is not None or history is not None:
            raise click.UsageError("QUERY stands alone; leave out --in and --query")
        show_trial(watched, config_path, data_directory, output)
    if (source is None) == (history is None):
        raise click.UsageError("give either --in FILE|DIRECTORY or --query EXPR")

    from sidecar.engine.forecast.compare import compare as rounds
    from sidecar.engine.forecast.library import LIBRARY, available

    unknown = [name for name in chosen if name not in LIBRARY]
    if unknown:
        raise click.UsageError(f"no model {unknown[0]!r}; known: {', '.join(LIBRARY)}")
    try:
        cases = _of_files(source) if source is not None else _of_query(history, config_path)
    except SidecarError as error:
        click.echo(f"pronoia: {error}", err=True)
        raise SystemExit(1) from error
    standings: list[Standing] = []
    try:
        for so_far in rounds(
            cases,
            chosen or tuple(available()),
            horizon_of=lambda step: max(round(horizon / step), 1),
            level=level / 100,
            n_origins=origins,
            budget_seconds=budget,
        ):
            standings = so_far
    except KeyboardInterrupt:
        click.echo("pronoia: stopped; this is what is known so far", err=True)
    if not any(standing.mase for standing in standings):
        click.echo(
            "pronoia: no series is long enough for this horizon, or no model could forecast it", err=True
        )
        raise SystemExit(1)
    _show(standings, output)


def _of_files(source: Path) -> list[Case]:
    from sidecar.engine.forecast.compare import Case
    from sidecar.engine.forecast.past import to_grid

    cases = []
    for path in sorted(source.glob("*.csv")) if source.is_dir() else [source]:
        table = read_table(path)
        kept = table.in_order
        grid = to_grid(table.timestamps[kept], table.values[kept], table.step_seconds)
        cases.append(Case(path.stem, grid, table.step_seconds))
    return cases


def _of_query(history: QueryHistory | None, config_path: Path | None) -> list[Case]:
    from sidecar.engine.forecast.compare import Case
    from sidecar.engine.forecast.past import to_grid

    assert history is not None
    batch = read_query(history, config_path)
    return [
        Case(labels.selector(), to_grid(batch.timestamps, values, history.step_seconds), history.step_seconds)
        for labels, values in zip(batch.labels, batch.values, strict=True)
    ]


def _show(standings: list[Standing], output: str) -> None:
    rows = [
        {
            "model": s.name,
            "ratio_to_seasonal_naive": s.rank if s.ratio else None,
            "mase": _mean(s.mase),
            "msis": _mean(s.msis),
            "coverage": _mean(s.covered),
            "seconds": _mean(s.seconds),
            "forecasts": len(s.mase),
            "dropped_after_round": s.dropped_after,
            "failures": s.failures,
        }
        for s in standings
    ]
    if output == "json":
        click.echo(json.dumps(rows))
        return
    click.echo(f"{'model':<16}{'ratio':>8}{'MASE':>8}{'MSIS':>9}{'covered':>9}{'s/fit':>9}{'forecasts':>11}")
    for s in standings:
        if not s.mase:
            click.echo(f"{s.name:<16}{'failed: ' + next(iter(s.failures), 'no time was left')}")
            continue
        note = f"  dropped after round {s.dropped_after}" if s.dropped_after else ""
        click.echo(
            f"{s.name:<16}{s.rank:>8.3f}{np.mean(s.mase):>8.3f}{np.mean(s.msis):>9.2f}{np.mean(s.covered):>9.1%}"
            f"{np.mean(s.seconds):>9.3f}{len(s.mase):>11}{note}"
        )


def _mean(values: list[float]) -> float | None:
    return float(np.mean(values)) if values else None
