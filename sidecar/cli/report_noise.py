"""`pronoia report noise`: what rang for nothing."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sidecar.cli.options import config_option, data_option, read_config
from sidecar.config.fields import format_duration, parse_duration

if TYPE_CHECKING:
    from sidecar.store.sqlite import SqliteStore
    from webhooks.respond.document import Report

MAX_INCIDENTS, MAX_EPISODES = 10_000, 200_000


@click.command()
@config_option
@data_option
@click.option("--as", "form", type=click.Choice(["markdown", "html"]), default="markdown", show_default=True)
@click.option("--team", help="Only incidents of this team.  [default: all]")
@click.option("--last", default="7d", show_default=True, help="How far back.")
def noise(
    config_path: Path | None, data_directory: Path | None, form: str, team: str | None, last: str
) -> None:
    """Noise report: noisiest rules, repeats, what ended by itself, what belongs together, what would help.

    \b
    Example:
      pronoia report noise --team shop --last 7d
    """
    from sidecar.cli.stored import with_store

    try:
        seconds = parse_duration(last)
    except ValueError as error:
        raise click.UsageError(f"--last: {error}") from error
    overrides = {"store": {"directory": data_directory}} if data_directory else None
    config = read_config(config_path, overrides)
    found = with_store(config, lambda store: _report(store, team, seconds))
    click.echo(found.page() if form == "html" else found.markdown(), nl=False)


async def _report(store: SqliteStore, team: str | None, seconds: float) -> Report:
    from webhooks.respond.noise_report import noise_report

    since_ns = int((time.time() - seconds) * 1e9)
    kept = store.response_store
    responses = {response.incident_id: response for response in await kept.responses()}

    def wanted(incident_id: str | None) -> bool:
        response = responses.get(incident_id or "")
        return team is None or (response is not None and response.team == team)

    incidents = [
        one
        for one in await store.incidents(limit=MAX_INCIDENTS)
        if one.started_at_ns >= since_ns and wanted(one.incident_id)
    ]
    episodes = await store.episodes(
        "where starts_at_ns >= ? order by starts_at_ns limit ?", (since_ns, MAX_EPISODES)
    )
    messages = [m for m in await store.messages_of_recent_incidents(since_ns) if m.created_at_ns >= since_ns]
    return noise_report(
        f"Noise of {team or 'all teams'}, last {format_duration(seconds)}",
        incidents,
        [one for one in episodes if wanted(one.incident_id)],
        responses,
        [one for one in await kept.feedback(since_ns=since_ns) if wanted(one.incident_id)],
        n_messages=sum(m.state == "sent" and wanted(m.incident_id) for m in messages),
    )
