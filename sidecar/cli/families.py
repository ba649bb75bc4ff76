"""`pronoia families`: which series of a query spend their days alike, and who left its family."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from sidecar.cli.options import config_option, format_option
from sidecar.cli.query_history import QueryHistory, query_options, read_query
from sidecar.errors import SidecarError

SHOWN = 5


@click.command()
@query_options
@config_option
@format_option
def families(config_path: Path | None, output: str, **query: Any) -> None:
    """Group a query's series by how they spend a day, and tell who left its group on the last day.

    A day is the mean of each hour relative to the series' own level. The number of
    families is the largest that other halves of the series agree on. All but the
    last day of the range teaches; families that are alike stand beside each other.

    \b
    Examples:
      pronoia families --query 'sum by (pod) (rate(http_requests_total[5m]))' --start 7d
      pronoia families --query node_load1 --start 2d --step 30m --format json

    Exit codes: 0 nobody left, 1 someone did, or the query could not be read; 2 wrong use.
    """
    history = QueryHistory.of(query)
    if history is None:
        raise click.UsageError("give --query EXPR")
    try:
        batch = read_query(history, config_path)
    except SidecarError as error:
        click.echo(f"pronoia: {error}", err=True)
        raise SystemExit(1) from error
    from sidecar.loop.behaviour import details, look

    found = details(look(batch))
    if output == "json":
        click.echo(json.dumps(found))
    else:
        _show(found)
    if found["left"]:
        raise SystemExit(1)


def _show(found: dict[str, Any]) -> None:
    # Imported late: with it comes numpy, which the command's help does not need.
    from sidecar.series import LabelSet

    click.echo(
        f"{len(found['families'])} families, stability {found['stability']:.2f}, "
        f"silhouette {found['silhouette']:.2f}"
    )
    for one in found["families"]:
        hours = one["hours"]
        highest, lowest = max(hours), min(hours)
        click.echo(
            f"family {one['family']}: {one['n_series']} series, "
            f"highest at {hours.index(highest):02d}h ({highest:+.0%} of the level), "
            f"lowest at {hours.index(lowest):02d}h ({lowest:+.0%}), UTC"
        )
        for member in one["series"][:SHOWN]:
            click.echo(f"  {LabelSet(member['labels']).selector()}")
        if one["n_series"] > SHOWN:
            click.echo(f"  and {one['n_series'] - SHOWN} more")
    if found["n_unknown"]:
        click.echo(f"of no family: {found['n_unknown']} series without most of a day")
    for pair in found["joined"]:
        click.echo(f"alike at {pair['distance']:.0%}: families {', '.join(map(str, pair['families']))}")
    for one in found["left"]:
        click.echo(
            f"left family {one['family']} on the last day: {LabelSet(one['labels']).selector()} "
            f"({one['distance']:.0%} off its "
            f"middle, usual is {one['usual_distance']:.0%}; now most like family {one['like']})"
        )
