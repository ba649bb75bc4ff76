"""`pronoia report risk`: how likely an incident starts on each service soon."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np

from sidecar.cli.options import config_option, data_option, format_option, read_config
from sidecar.records import Episode, Incident

if TYPE_CHECKING:
    from sidecar.engine.risk import Outcome, ServicePast
    from sidecar.store.sqlite import SqliteStore

MAX_INCIDENTS = 20_000
COUNTED = ("P0", "P1", "P2")


@click.command()
@config_option
@data_option
@format_option
@click.option("--top", type=click.IntRange(1), default=10, show_default=True, help="Services of each window.")
def risk(config_path: Path | None, data_directory: Path | None, output: str, top: int) -> None:
    """Tell how likely an incident starts on a service within 30 min to 3 h, 4 h and 24 h.

    Learnt from the incidents (P0 to P2) and alerts in the database: the newest third is only
    used to try what the rest taught. A window whose predictions were no better than how often
    incidents happen is not predicted, and with fewer than 40 incidents nothing is.

    Brier score: mean squared error of the probabilities, less is better.

    \b
    Example:
      pronoia report risk --data pronoia-data

    Exit codes: 0 something is predicted, 1 nothing can be, 2 wrong use.
    """
    from sidecar.cli.stored import with_store
    from sidecar.engine.risk import assess

    overrides = {"store": {"directory": data_directory}} if data_directory else None
    incidents, episodes = with_store(read_config(config_path, overrides), _stored)
    now = time.time()
    begin = min((episode.starts_at_ns / 1e9 for episode in episodes), default=now)
    found = assess(pasts_of(incidents, episodes), begin=begin, now=now)
    if output == "json":
        click.echo(json.dumps(asdict(found)))
    else:
        _show(found, top)
    if found.silent:
        raise SystemExit(1)


async def _stored(store: SqliteStore) -> tuple[list[Incident], list[Episode]]:
    incidents = await store.incidents(limit=MAX_INCIDENTS)
    return incidents, await store.episodes("order by starts_at_ns")


def pasts_of(incidents: Iterable[Incident], episodes: Iterable[Episode]) -> list[ServicePast]:
    """When alerts and incidents of each service started; an incident is of every service in it."""
    from sidecar.engine.risk import ServicePast
    from webhooks.entity import EntityReader

    began = {
        one.incident_id: one.started_at_ns / 1e9
        for one in incidents
        if one.priority in COUNTED and one.noise < 0.5
    }
    reader = EntityReader()
    alerts: defaultdict[str, list[float]] = defaultdict(list)
    started: defaultdict[str, set[float]] = defaultdict(set)
    for episode in episodes:
        service = reader.read(episode.labels, episode.annotations).entity
        alerts[service].append(episode.starts_at_ns / 1e9)
        if episode.incident_id in began:
            started[service].add(began[episode.incident_id])
    return [
        ServicePast(service, np.array(sorted(times)), np.array(sorted(started[service]), dtype=np.float64))
        for service, times in sorted(alerts.items())
    ]


def _show(found: Outcome, top: int) -> None:
    if found.silent:
        click.echo(f"no prediction: {found.silent}")
    for trial in found.trials:
        click.echo(
            f"{trial.window}: Brier {trial.brier:.4f} beside {trial.base_brier:.4f} of the base rate "
            f"{trial.base_rate:.1%}" + ("" if trial.useful else "; not predicted")
        )
        said = ", ".join(f"{p:.1%} said {came:.1%} came" for p, came, _ in trial.calibration)
        click.echo(f"  calibration: {said}")
        for one in [risk for risk in found.risks if risk.window == trial.window][:top]:
            reasons = ", ".join(f"{name} {share:+.2f}" for name, share in one.reasons)
            click.echo(f"  {one.probability:>6.1%}  {one.service:<30} {reasons}")
