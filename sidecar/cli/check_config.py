"""`pronoia check-config`: every fault of a configuration file, before anything runs with it."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import click

from sidecar.cli.options import config_option, load_config
from sidecar.config.load import config_hash
from sidecar.config.model import QueryConfig
from sidecar.errors import ConfigError
from sidecar.promql.counter import raw_counter


@click.command()
@click.argument("file", required=False, type=click.Path(path_type=Path, dir_okay=False))
@config_option
def check_config(file: Path | None, config_path: Path | None) -> None:
    """Check FILE (or --config FILE) as `pronoia run` would; exit 1 and list every fault if it is unusable.

    \b
    Example:
      pronoia check-config pronoia.yaml
    """
    file = file or config_path
    if file is None:
        raise click.UsageError("name the file: pronoia check-config pronoia.yaml")
    try:
        config = load_config(file)
    except ConfigError as error:
        click.echo(str(error), err=True)
        raise SystemExit(1) from error
    for query in config.queries:
        counter = raw_counter(query.expr)
        if counter:
            click.echo(
                f"{file}: note: queries.{query.name}.expr reads the counter {counter} as it stands; "
                f"its rate({counter}[5m]) is what can be judged",
                err=True,
            )
        for fault in untrainable(query):
            click.echo(f"{file}: note: queries.{query.name}: {fault}", err=True)
    n_queries = len(config.queries)
    what = f"{n_queries} queries" if n_queries else "no queries: they will be proposed"
    click.echo(f"{file}: fine ({what}; hash {config_hash(config)})")


def untrainable(query: QueryConfig) -> Iterator[str]:
    """What of a query's detectors cannot be trained here."""
    members = query.council if query.detector == "council" else ()
    if "autoencoder" in (query.detector, *members) and find_spec("torch") is None:
        yield "autoencoder says nothing until it is trained, with torch: pip install 'pronoia[deep]'"
