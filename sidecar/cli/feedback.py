"""`pronoia feedback`: say of an anomaly that it was noise or useful, see what comes of it, take it back."""

from __future__ import annotations

import json

import click

from sidecar.cli.options import format_option
from sidecar.cli.own_api import ask_or_exit, at_option

by_option = click.option("--by", default="", help="Who says so.", envvar="USER")


@click.group()
def feedback() -> None:
    """Say what anomalies and incidents were worth; pronoia learns from it, within bounds."""


@feedback.command()
@click.argument("query")
@click.argument("fingerprint")
@click.argument("verdict", type=click.Choice(["noise", "useful"]))
@by_option
@at_option
@format_option
def series(query: str, fingerprint: str, verdict: str, by: str, url: str, output: str) -> None:
    """Say what the open, or else the newest, anomaly of a series was; `pronoia explain` names both.

    Each "noise" widens the series' band by 15 %, or raises by as much what its course
    has to exceed, whichever was unusual; each "useful" narrows it by 5 %. Never
    below 0.75 nor above 2 times; half is forgotten in 90 days.

    \b
    Example:
      pronoia feedback series cdn_error_ratio 9c1d2f7a0b3e4455 noise

    Exit codes: 0 kept, 1 there is no such anomaly or pronoia did not answer, 2 wrong use.
    """
    said = {"query": query, "fingerprint": fingerprint, "verdict": verdict, "by": by}
    found = ask_or_exit(url, "/api/v1/series-feedback", said)
    click.echo(json.dumps(found) if output == "json" else f"kept as {found['id']}. {found['effect']}")


@feedback.command()
@click.argument("incident_id")
@click.argument("verdict", type=click.Choice(["useful", "noise", "duplicate", "wrong_merge"]))
@by_option
@at_option
def incident(incident_id: str, verdict: str, by: str, url: str) -> None:
    """Say what an incident was; of its generated alerts the series learn it within five minutes.

    \b
    Example:
      pronoia feedback incident inc-bf413ca28144 noise --by ana

    Exit codes: 0 kept, 1 there is no such incident or pronoia did not answer, 2 wrong use.
    """
    ask_or_exit(url, "/api/v1/feedback", {"incident_id": incident_id, "verdict": verdict, "by": by})
    click.echo("kept")


@feedback.command("list")
@at_option
@format_option
def list_(url: str, output: str) -> None:
    """What was said of series, the newest first, and what comes of all that was said of each.

    \b
    Example:
      pronoia feedback list

    Exit codes: 0 fine, 1 pronoia did not answer, 2 wrong use.
    """
    found = ask_or_exit(url, "/api/v1/series-feedback")
    if output == "json":
        click.echo(json.dumps(found))
        return
    for one in found:
        labels = ",".join(f'{name}="{value}"' for name, value in one["labels"].items())
        click.echo(f"{one['id']:>5} {one['verdict']:<7} {one['by']:<12} {one['query']} {{{labels}}}")
        click.echo(f"      {one['effect']}")
    if not found:
        click.echo("nothing was said of series")


@feedback.command()
@click.argument("verdict_id", type=click.IntRange(1))
@at_option
def undo(verdict_id: int, url: str) -> None:
    """Take a verdict on a series back, by the number that `pronoia feedback list` shows.

    \b
    Example:
      pronoia feedback undo 17

    Exit codes: 0 taken back, 1 there is none or pronoia did not answer, 2 wrong use.
    """
    ask_or_exit(url, f"/api/v1/series-feedback/{verdict_id}/undo", {})
    click.echo("taken back")
