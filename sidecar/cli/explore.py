"""`pronoia explore`: what a query gives, series by series, and as CSV for a notebook or a spreadsheet."""

from __future__ import annotations

import asyncio
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sidecar.cli.options import config_option, format_option, read_config
from sidecar.cli.query_history import QueryHistory, query_options
from sidecar.cli.reach import look
from sidecar.cli.rules_table import print_table
from sidecar.durable import write_named
from sidecar.errors import SidecarError
from sidecar.series import LabelSet

if TYPE_CHECKING:
    import pandas as pd

FIGURES = ("min", "median", "max", "last")


@click.command()
@query_options
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write every sample there as CSV: time, labels, value.",
)
@config_option
@format_option
def explore(config_path: Path | None, output: str, out: Path | None, **query: Any) -> None:
    """Tell of each series of a query how much of it there is and between which values it moves.

    \b
    Examples:
      pronoia explore --query 'rate(http_requests_total[5m])' --start 1d --prometheus http://localhost:9090
      pronoia explore --query node_load1 --start 2d --step 1m --out load.csv

    Exit codes: 0 there are series, 1 there are none or the query could not be read, 2 wrong use.
    """
    history = QueryHistory.of(query)
    if history is None:
        raise click.UsageError("give --query EXPR")
    url = history.prometheus_url
    config = read_config(config_path, {"prometheus": {"url": url}} if url else {})
    from sidecar.prometheus.explore import range_frame

    try:
        asyncio.run(look(config.prometheus))
        frame = range_frame(
            config.prometheus,
            history.expr,
            start_seconds=history.start_ms / 1000,
            end_seconds=history.end_ms / 1000,
            step_seconds=history.step_seconds,
            max_series=history.max_series,
        )
    except SidecarError as error:
        click.echo(f"pronoia: {error}", err=True)
        raise SystemExit(1) from error
    n_steps = int((history.end_ms - history.start_ms) / 1000 // history.step_seconds) + 1
    found = _told(frame, n_steps)
    if output == "json":
        click.echo(json.dumps(found))
    elif found:
        print_table(["series", "there", *FIGURES], [_row(one) for one in found])
    if not found:
        click.echo(f"pronoia: {history.nothing}", err=True)
        raise SystemExit(1)
    if out is not None:
        try:
            write_named(out, lambda file: frame.to_csv(file, date_format="%Y-%m-%dT%H:%M:%SZ"))
        except OSError as error:
            click.echo(f"pronoia: {error}", err=True)
            raise SystemExit(1) from error


def _told(frame: pd.DataFrame, n_steps: int) -> list[dict[str, Any]]:
    """Each series' figures, by labels; `there` is the share of the steps that have a value."""
    labels = [name for name in frame.columns if name != "value"]
    groups = frame.groupby(labels, dropna=False, sort=True) if labels else [((), frame)] if len(frame) else []
    found = []
    for key, rows in groups:
        named = zip(labels, key, strict=True)
        values = rows["value"]
        figures = (values.min(), values.median(), values.max(), values.iloc[-1])
        found.append(
            {
                "series": LabelSet((name, one) for name, one in named if isinstance(one, str)).selector(),
                "there": len(rows) / n_steps,
                # JSON has no word for infinity.
                **{
                    name: float(one) if math.isfinite(one) else None
                    for name, one in zip(FIGURES, figures, strict=True)
                },
            }
        )
    return found


def _row(one: dict[str, Any]) -> list[str]:
    figures = ("-" if one[name] is None else f"{one[name]:.6g}" for name in FIGURES)
    return [one["series"], f"{one['there']:.0%}", *figures]
