"""`pronoia alerts import`: alerts of before pronoia, from Prometheus or from recorded webhooks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sidecar.cli.options import config_option, data_option, read_config
from sidecar.errors import SidecarError

if TYPE_CHECKING:
    from sidecar.records import Episode

MAX_SERIES = 100_000


@click.command("import")
@config_option
@data_option
@click.option(
    "--in",
    "source",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Recorded webhooks, as for pronoia correlate; without it, Prometheus is asked.",
)
@click.option("--prometheus", "prometheus_url", metavar="URL", help="Where ALERTS is asked.")
@click.option(
    "--start", default="14d", show_default=True, metavar="TIME", help="ISO 8601, or before the end."
)
@click.option("--end", metavar="TIME", help="As --start.  [default: now]")
@click.option("--step", "query_step", default="1m", show_default=True, metavar="DURATION")
def import_alerts(
    config_path: Path | None, data_directory: Path | None, source: Path | None, **options: Any
) -> None:
    """Store alerts of the past, and the incidents that they were.

    What fires still is left to Alertmanager, and what is stored already stays as
    it is. Nobody is told of what is imported.

    \b
    Examples:
      pronoia alerts import --prometheus http://localhost:9090 --start 28d
      pronoia alerts import --in webhooks.jsonl

    Exit codes: 0 fine, 1 something could not be read or stored, 2 wrong use.
    """
    from sidecar.cli.stored import with_store
    from webhooks.past import store_past

    config = read_config(config_path, {"store": {"directory": data_directory}} if data_directory else {})
    complaints: list[str] = []
    try:
        episodes = _read(source, config_path, options, complaints)
    except (SidecarError, OSError) as error:
        click.echo(f"pronoia: {error}", err=True)
        raise SystemExit(1) from error
    n_new, n_incidents = with_store(
        config, lambda store: store_past(store, config.webhook, episodes), make=True
    )
    for complaint in complaints[:20]:
        click.echo(f"pronoia: {complaint}", err=True)
    click.echo(f"{n_new} alerts stored in {n_incidents} incidents, {len(episodes) - n_new} known already")
    if not episodes:
        click.echo(
            "pronoia: there is no alert that is over; what fires still is left to Alertmanager", err=True
        )
    raise SystemExit(1 if complaints else 0)


def _read(
    source: Path | None, config_path: Path | None, options: dict[str, Any], complaints: list[str]
) -> list[Episode]:
    from sidecar.cli.query_history import QueryHistory, read_query, with_prometheus
    from webhooks.reconcile.history import FIRING, from_lines, from_series

    if source is not None:
        return from_lines(source.read_bytes().splitlines(), warn=complaints.append)
    history = QueryHistory.of({"expr": FIRING, "max_series": MAX_SERIES, **options})
    assert history is not None
    external = with_prometheus(history.prometheus_url, config_path, lambda client: client.external_labels())
    return from_series(read_query(history, config_path), external=external)
