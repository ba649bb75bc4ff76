"""Options that several commands share, and how they become a configuration."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from sidecar.config.load import load_file, load_text
from sidecar.config.model import Config
from sidecar.errors import ConfigError, ConfigProblem, RuleError

F = TypeVar("F", bound=Callable[..., Any])

ENVIRONMENT_FILE = "PRONOIA_CONFIG"


def config_option(command: F) -> F:
    """`--config FILE`, also from the environment."""
    return click.option(
        "--config",
        "config_path",
        type=click.Path(path_type=Path, dir_okay=False),
        envvar=ENVIRONMENT_FILE,
        show_envvar=True,
        help="Configuration file (YAML). Without one, defaults and proposals serve.",
    )(command)


def data_option(command: F) -> F:
    """`--data DIR`, the one folder that pronoia writes."""
    return click.option(
        "--data",
        "data_directory",
        type=click.Path(path_type=Path, file_okay=False),
        help="Folder of the database and the models.  [default: pronoia-data]",
    )(command)


def neighbour_options(command: F) -> F:
    """`--prometheus URL` and `--alertmanager URL …`, as the arguments of `neighbours`."""
    with_alertmanagers = click.option(
        "--alertmanager",
        "alertmanager_urls",
        metavar="URL",
        multiple=True,
        help="Alertmanager; may be repeated.",
    )(command)
    return click.option(
        "--prometheus", "prometheus_url", metavar="URL", help="Prometheus, or what speaks its API."
    )(with_alertmanagers)


def neighbours(prometheus_url: str | None, alertmanager_urls: tuple[str, ...]) -> dict[str, Any]:
    """What of a configuration these options override."""
    overrides: dict[str, Any] = {}
    if prometheus_url is not None:
        overrides["prometheus"] = {"url": prometheus_url}
    if alertmanager_urls:
        overrides["alertmanagers"] = [{"url": url} for url in alertmanager_urls]
    return overrides


def format_option(command: F) -> F:
    """`--format json|text`."""
    return click.option(
        "--format",
        "output",
        type=click.Choice(["text", "json"]),
        default="text",
        show_default=True,
        help="For people, or for programs.",
    )(command)


def series_option(command: F) -> F:
    """`--in FILE|DIRECTORY` of CSV files, as the argument `source`."""
    return click.option(
        "--in",
        "source",
        type=click.Path(path_type=Path, exists=True),
        help="CSV file with the columns timestamp,value; or a directory of such files.",
    )(command)


def read_config(path: Path | None, overrides: dict[str, Any] | None = None) -> Config:
    """The configuration of a command line; ends the process with code 2 and every fault on bad input."""
    try:
        return load_config(path, overrides)
    except ConfigError as error:
        click.echo(f"pronoia: {error}", err=True)
        raise SystemExit(2) from error


def load_config(path: Path | None, overrides: dict[str, Any] | None = None) -> Config:
    """As `read_config`, for callers that outlive a bad file.

    Raises: ConfigError.
    """
    if path is None:
        return load_text("", env=os.environ, overrides=overrides, source="command line")
    config = load_file(path, env=os.environ, overrides=overrides)
    if config.rules.disabled_alerts:
        _check_disabled(config, str(path))
    return config


def _check_disabled(config: Config, source: str) -> None:
    """Raises: ConfigError where an alert to be left out is in none of the packs."""
    from rules.generate.packs import chosen_packs  # Which alerts a pack has, the configuration cannot know.

    try:
        chosen_packs(config.rules.packs, config.rules.disabled_alerts)
    except RuleError as error:
        raise ConfigError([ConfigProblem("rules.disabled_alerts", str(error))], source) from error
