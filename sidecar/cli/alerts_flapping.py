"""`pronoia alerts flapping`: rules whose alerts flap, and the change of each that would end it."""

from __future__ import annotations

from pathlib import Path

import click

from sidecar.cli.options import config_option, data_option, format_option, read_config


@click.command()
@config_option
@data_option
@format_option
def flapping(config_path: Path | None, data_directory: Path | None, output: str) -> None:
    """Rules whose alerts flap now, and the change of each that would end it.

    A running pronoia keeps the list, from what it was told and from Prometheus' own
    history; it changes no rule by itself.

    \b
    Example:
      pronoia alerts flapping

    Exit codes: 0 none flaps, 1 some do, 2 wrong use.
    """
    import msgspec

    from sidecar.cli.stored import with_store
    from sidecar.records import DEFAULT_TENANT
    from webhooks.quieten.flap_report import NOTE
    from webhooks.quieten.flapping import Proposal

    config = read_config(config_path, {"store": {"directory": data_directory}} if data_directory else {})
    stored = with_store(config, lambda store: store.note(NOTE)) or b"[]"
    proposed = msgspec.json.decode(stored, type=list[Proposal])
    if output == "json":
        click.echo(msgspec.json.encode(proposed))
    else:
        for one in proposed:
            tenant = "" if one.tenant == DEFAULT_TENANT else f" ({one.tenant})"
            click.echo(f"{one.alertname}{tenant}: {one.field}: {one.seconds:g}s\n    {one.reason}")
        if not proposed:
            click.echo("none flaps")
    raise SystemExit(1 if proposed else 0)
