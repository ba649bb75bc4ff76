"""`pronoia check-config`: every fault of a configuration file, before anything runs with it."""

from __future__ import annotations

import os
from pathlib import Path

import click

from sidecar.config.load import config_hash, load_file
from sidecar.errors import ConfigError


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
def check_config(file: Path) -> None:
    """Check FILE as `pronoia run --config FILE` would; exit 1 and list every fault if it is unusable."""
    try:
        config = load_file(file, env=os.environ)
    except ConfigError as error:
        click.echo(str(error), err=True)
        raise SystemExit(1) from error
    n_queries = len(config.queries)
    what = f"{n_queries} queries" if n_queries else "no queries: they will be proposed"
    click.echo(f"{file}: fine ({what}; hash {config_hash(config)})")
