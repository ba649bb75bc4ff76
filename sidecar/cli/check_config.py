"""`pronoia check-config`: every fault of a configuration file, before anything runs with it."""

from __future__ import annotations

import os
from pathlib import Path

import click

from sidecar.cli.options import config_option
from sidecar.config.load import config_hash, load_file
from sidecar.config.model import Config
from sidecar.errors import ConfigError
from sidecar.promql.counter import raw_counter


def check_detectors(file: Path, config: Config) -> None:
    """Exit 1 and list the queries whose detector nobody knows."""
    from sidecar.engine.registry import DETECTORS  # Loads compiled code, which no other fault needs.

    faults = [
        f"{file}: queries.{query.name}.detector: {query.detector!r} is none of {', '.join(sorted(DETECTORS))}"
        for query in config.queries
        if query.detector not in DETECTORS
    ]
    if faults:
        click.echo("\n".join(faults), err=True)
        raise SystemExit(1)


@click.command()
@click.argument("file", required=False, type=click.Path(path_type=Path, dir_okay=False))
@config_option
def check_config(file: Path | None, config_path: Path | None) -> None:
    """Check FILE (or --config FILE) as `pronoia run` would; exit 1 and list every fault if it is unusable."""
    file = file or config_path
    if file is None:
        raise click.UsageError("name the file: pronoia check-config pronoia.yaml")
    try:
        config = load_file(file, env=os.environ)
    except ConfigError as error:
        click.echo(str(error), err=True)
        raise SystemExit(1) from error
    check_detectors(file, config)
    for query in config.queries:
        counter = raw_counter(query.expr)
        if counter:
            click.echo(
                f"{file}: note: queries.{query.name}.expr reads the counter {counter} as it stands; "
                f"its rate({counter}[5m]) is what can be judged",
                err=True,
            )
    n_queries = len(config.queries)
    what = f"{n_queries} queries" if n_queries else "no queries: they will be proposed"
    click.echo(f"{file}: fine ({what}; hash {config_hash(config)})")
