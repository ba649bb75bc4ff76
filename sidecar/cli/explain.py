"""`pronoia explain`: what a running pronoia knows of an anomaly, in words or as data."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote, urlencode

import click

from sidecar.cli.options import format_option
from sidecar.cli.own_api import ask_or_exit, at_option


@click.command()
@at_option
@click.option("--query", help="Only of this watched query.")
@click.option("--fingerprint", help="One series of --query, anomalous or not.")
@click.option("--contributions", is_flag=True, help="Ask Prometheus which label values carry it.")
@click.option("--limit", type=click.IntRange(1, 1000), default=10, show_default=True)
@format_option
def explain(
    url: str, query: str | None, fingerprint: str | None, contributions: bool, limit: int, output: str
) -> None:
    """Explain the open anomalies, the worst first: how far off, how rare, since when, what was like it.

    \b
    Examples:
      pronoia explain
      pronoia explain --query checkout_latency --contributions

    Exit codes: 0 nothing is anomalous, 1 something is or pronoia did not answer, 2 wrong use.
    """
    if fingerprint and not query:
        raise click.UsageError("--fingerprint needs --query")
    if fingerprint:
        found = [_ask(url, f"/{quote(query or '')}/{quote(fingerprint)}", contributions)]
    else:
        parameters = {"limit": str(limit)} | ({"query": query} if query else {})
        found = _ask(url, "?" + urlencode(parameters), False)
        if contributions:
            found = [_ask(url, f"/{quote(one['query'])}/{one['fingerprint']}", True) for one in found]
    if output == "json":
        click.echo(json.dumps(found))
    else:
        for one in found:
            labels = ",".join(f'{name}="{value}"' for name, value in one["labels"].items())
            click.echo(f"{one['query']} {{{labels}}} [{one['fingerprint']}]\n  {one['text']}\n")
        if not found:
            click.echo("nothing is anomalous now")
    raise SystemExit(1 if any(one["anomalous"] for one in found) else 0)


def _ask(url: str, rest: str, contributions: bool) -> Any:
    return ask_or_exit(url, f"/api/v1/explanations{rest}" + ("?contributions=true" if contributions else ""))
