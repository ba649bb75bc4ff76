"""`pronoia report incident`: the report of one incident."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from sidecar.cli.options import config_option, data_option, read_config

if TYPE_CHECKING:
    from sidecar.store.protocol import Store
    from webhooks.respond.document import Report

MAX_PAST = 1000


@click.command()
@config_option
@data_option
@click.option("--as", "form", type=click.Choice(["markdown", "html"]), default="markdown", show_default=True)
@click.argument("incident_id")
def incident(config_path: Path | None, data_directory: Path | None, form: str, incident_id: str) -> None:
    """Report of an incident: times, cause, timeline, alerts, what was like it before.

    HTML has a plot of how many alerts fired. Exit codes: 0 fine, 1 there is none of that id, 2 wrong use.

    \b
    Example:
      pronoia report incident inc-0123456789ab --as html > report.html
    """
    from sidecar.cli.stored import with_store

    overrides = {"store": {"directory": data_directory}} if data_directory else None
    config = read_config(config_path, overrides)
    found = with_store(config, lambda store: _report(store, incident_id))
    if found is None:
        click.echo(f"pronoia: no incident {incident_id}; see pronoia incidents list", err=True)
        raise SystemExit(1)
    click.echo(found.page() if form == "html" else found.markdown(), nl=False)


async def _report(store: Store, incident_id: str) -> Report | None:
    from webhooks.respond.report import incident_report
    from webhooks.respond.similar import similar

    found = await store.incident(incident_id)
    if found is None:
        return None
    one, episodes = found
    kept = store.response_store
    past = await store.incidents(state="resolved", limit=MAX_PAST)
    responses = {response.incident_id: response for response in await kept.responses()}
    return incident_report(
        one,
        episodes,
        responses.get(incident_id),
        await kept.timeline(incident_id),
        await store.messages_of(incident_id),
        similar(one, past, responses),
    )
