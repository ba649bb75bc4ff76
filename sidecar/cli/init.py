"""`pronoia init`: what is worth watching on a Prometheus, as a configuration file to edit."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from sidecar.cli.options import read_config
from sidecar.cli.reach import within_reach
from sidecar.durable import write_named
from sidecar.errors import PullError


@click.command()
@click.option(
    "--prometheus", "prometheus_url", metavar="URL", default="http://localhost:9090", show_default=True
)
@click.option(
    "--alertmanager",
    "alertmanager_urls",
    metavar="URL",
    multiple=True,
    help="Alertmanager to write down; may be repeated.",
)
@click.option(
    "--rules-dir",
    "rules_directory",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of adaptive rules to write down; Prometheus must load *.rules.yaml of it.",
)
@click.option(
    "--out",
    "target",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("pronoia.yaml"),
    show_default=True,
    help="File to write; - for standard output.",
)
@click.option("--force", is_flag=True, help="Overwrite the file if it is there.")
def init(
    prometheus_url: str,
    alertmanager_urls: tuple[str, ...],
    rules_directory: Path | None,
    target: Path,
    force: bool,
) -> None:
    """Propose what to watch and write it as a commented configuration file.

    The proposal is made from the server's metadata, targets and alert rules:
    each query with its reason and its number of series, and what was left out.

    \b
    Examples:
      pronoia init --prometheus http://localhost:9090
      pronoia init --alertmanager http://localhost:9093 --rules-dir /etc/prometheus/rules
    """
    if str(target) != "-" and target.exists() and not force:
        click.echo(f"pronoia: {target} is there already; give --force to overwrite it, or --out", err=True)
        raise SystemExit(2)
    config = read_config(None, {"prometheus": {"url": prometheus_url, "retries": 1}})

    from sidecar.loop.propose import Proposal, propose
    from sidecar.loop.propose_yaml import ConfigFacts, render_yaml

    async def ask() -> Proposal:
        async with within_reach(config.prometheus) as client:
            return await propose(client)

    try:
        proposal = asyncio.run(ask())
    except PullError as error:
        click.echo(f"pronoia: {error}", err=True)
        raise SystemExit(1) from error
    text = render_yaml(
        proposal,
        ConfigFacts(
            prometheus_url=prometheus_url,
            alertmanager_urls=alertmanager_urls,
            rules_directory=rules_directory,
        ),
    )
    if str(target) == "-":
        click.echo(text)
        return
    try:
        write_named(target, lambda file: file.write(text.encode()))
    except OSError as error:
        click.echo(f"pronoia: {error}", err=True)
        raise SystemExit(1) from error
    click.echo(
        f"{target}: {len(proposal.queries)} queries, {proposal.n_series} series; "
        f"{len(proposal.left_out)} left out, with reasons, at the end of the file.\n"
        f"Edit it, then: pronoia run --config {target}"
    )
