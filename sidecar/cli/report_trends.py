"""`pronoia report trends`: which series of a query grow or decline, and whether that is more than chance."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sidecar.cli.options import config_option, format_option
from sidecar.cli.query_history import QueryHistory, query_options, read_query
from sidecar.errors import SidecarError

if TYPE_CHECKING:
    from sidecar.engine.trends import Trend


@click.command()
@query_options
@click.option("--top", type=click.IntRange(1), default=10, show_default=True, help="So many either way.")
@config_option
@format_option
def trends(top: int, config_path: Path | None, output: str, **query: Any) -> None:
    """Tell the fastest growing and declining series of a query, by week.

    Aggregate by the label whose values you want to see: genre, region, endpoint. Days
    are compared with the same days of other weeks, so weekends and the time of the day play
    no part; four weeks are a good start. What could be chance is counted, not listed:
    of what is listed, one in twenty at most is chance (false discovery rate).

    \b
    Examples:
      pronoia report trends --query 'sum by (genre) (rate(plays_total[1h]))' --start 28d --step 1h
      pronoia report trends --query 'sum by (path) (rate(http_requests_total[1h]))' --format json

    Exit codes: 0 fine, 1 the query failed or has no history of a week, 2 wrong use.
    """
    from sidecar.engine.trends import trends as find

    history = QueryHistory.of(query)
    if history is None:
        raise click.UsageError("give --query EXPR, and --start for how far back")
    try:
        found = find(read_query(history, config_path))
    except SidecarError as error:
        click.echo(f"pronoia: {error}", err=True)
        raise SystemExit(1) from error
    if not found:
        click.echo(f"pronoia: query {history.expr!r} has no series with a week of history", err=True)
        raise SystemExit(1)
    if output == "json":
        click.echo(json.dumps([trend.document() for trend in found]))
    else:
        _show(found, top)


def _show(found: list[Trend], top: int) -> None:
    sure = [trend for trend in found if trend.significant]
    growing = [trend for trend in sure if trend.per_week > 0][:top]
    declining = [trend for trend in reversed(sure) if trend.per_week < 0][:top]
    for title, part in (("growing", growing), ("declining", declining)):
        click.echo(f"{title}:" if part else f"{title}: none")
        for trend in part:
            click.echo(
                f"  {trend.relative_per_week:>+9.1%} a week  {trend.level:>12.6g}  "
                f"chance {trend.chance:.1g}  {trend.labels.selector()}"
            )
    click.echo(f"{len(found) - len(sure)} of {len(found)} series show nothing that could not be chance")
