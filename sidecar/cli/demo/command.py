"""`pronoia demo`: the whole thing on this machine, until Ctrl-C."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click


@click.command()
@click.option(
    "--data",
    "directory",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("pronoia-demo"),
    show_default=True,
    help="Folder of everything; emptied at the next start.",
)
@click.option("--no-incident", is_flag=True, help="Break nothing.")
@click.option(
    "--incident-after",
    type=click.FloatRange(0),
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="When the incident comes, at the earliest.",
)
@click.option(
    "--incident-seconds",
    type=click.FloatRange(30),
    default=150.0,
    show_default=True,
    metavar="SECONDS",
    help="How long it lasts.",
)
@click.option("--once", is_flag=True, help="Stop when the story is told.")
@click.option(
    "--duration", type=click.FloatRange(1), metavar="SECONDS", help="Stop after so long at the latest."
)
@click.option(
    "--record",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Save what was printed (.svg: a picture; else text).",
)
def demo(
    directory: Path,
    no_incident: bool,
    incident_after: float,
    incident_seconds: float,
    once: bool,
    duration: float | None,
    record: Path | None,
) -> None:
    """Show the whole thing on this machine.

    Starts a real Prometheus with two weeks of history of a small
    music-streaming platform, a real Alertmanager, and pronoia beside them; then
    breaks something, and tells the story as it happens. Ctrl-C stops every
    process it started.

    \b
    Examples:
      pronoia demo
      pronoia demo --once --incident-after 20 --incident-seconds 75
    """
    from sidecar.cli.demo.install import find_all, install, missing
    from sidecar.cli.demo.run import Options, run_demo
    from sidecar.cli.demo.terminal import Terminal

    if missing() and not install(say=click.echo):
        raise SystemExit(1)
    options = Options(
        directory=directory,
        incident=not no_incident,
        incident_after_seconds=incident_after,
        incident_seconds=incident_seconds,
        duration_seconds=duration,
        once=once,
    )
    raise SystemExit(asyncio.run(run_demo(options, find_all(), Terminal(record=record))))
