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
    from sidecar.engine.behaviour import tree
    from sidecar.loop.behaviour import look

    found = look(batch)
    names = [str(dict(label_set)) for label_set in batch.labels]
    if output == "json":
        click.echo(json.dumps(_facts(found, names, tree(found.families))))
    else:
        _show(found, names, tree(found.families))
    if found.leavers:
        raise SystemExit(1)


def _members(found: Any, family: int, names: list[str]) -> list[str]:
    return [name for name, own in zip(names, found.families.of_row.tolist(), strict=True) if own == family]


def _facts(found: Any, names: list[str], joined: list[tuple[list[int], float]]) -> dict[str, Any]:
    return {
        "stability": round(found.families.stability, 3),
        "families": [
            {
                "family": family,
                "series": _members(found, family, names),
                "hours": found.families.middles[family].round(4).tolist(),
            }
            for family in range(found.families.n_families)
        ],
        "joined": [{"families": list(which), "distance": round(far, 4)} for which, far in joined],
        "left": [
            {
                "series": names[one.row],
                "family": one.family,
                "like": one.like,
                "distance": round(one.distance, 4),
            }
            for one in found.leavers
        ],
    }


def _show(found: Any, names: list[str], joined: list[tuple[list[int], float]]) -> None:
    click.echo(f"{found.families.n_families} families, stability {found.families.stability:.2f}")
    for family in range(found.families.n_families):
        members = _members(found, family, names)
        middle = found.families.middles[family]
        click.echo(
            f"family {family}: {len(members)} series, "
            f"highest at {int(middle.argmax()):02d}h ({middle.max():+.0%} of the level), "
            f"lowest at {int(middle.argmin()):02d}h ({middle.min():+.0%}), UTC"
        )
        for name in members[:SHOWN]:
            click.echo(f"  {name}")
        if len(members) > SHOWN:
            click.echo(f"  and {len(members) - SHOWN} more")
    for which, far in joined:
        click.echo(f"alike at {far:.0%}: families {', '.join(map(str, which))}")
    for one in found.leavers:
        click.echo(
            f"left family {one.family} on the last day: {names[one.row]} ({one.distance:.0%} off its middle, "
            f"usual is {one.usual_distance:.0%}; now most like family {one.like})"
        )
