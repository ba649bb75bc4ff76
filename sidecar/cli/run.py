"""`pronoia run`: the sidecar, until it is told to stop."""

from __future__ import annotations

import asyncio
import os
import signal
import tempfile
from pathlib import Path
from typing import Any

import click

from sidecar.cli.compiled_code import keep_compiled_code_beside
from sidecar.cli.early_signals import stopped_at_once
from sidecar.cli.options import (
    config_option,
    data_option,
    load_config,
    neighbour_options,
    neighbours,
    read_config,
)


def _have_temporary_files(directory: Path) -> None:
    """Have them beside the data where nothing else may be written, as with a read-only root and no /tmp."""
    try:
        tempfile.gettempdir()
    except FileNotFoundError:
        os.environ["TMPDIR"] = str(directory.absolute())


@click.command()
@config_option
@neighbour_options
@click.option("--listen", metavar="HOST:PORT", help="Address to serve on.  [default: 0.0.0.0:9469]")
@data_option
@click.option(
    "--rules-dir",
    "rules_directory",
    type=click.Path(path_type=Path, file_okay=False),
    help="Write adaptive rules here; Prometheus must load *.rules.yaml of it.",
)
@click.option("--log-level", type=click.Choice(["debug", "info", "warning", "error"]))
@click.option("--log-format", type=click.Choice(["auto", "json", "human"]))
def run(
    config_path: Path | None,
    prometheus_url: str | None,
    alertmanager_urls: tuple[str, ...],
    listen: str | None,
    data_directory: Path | None,
    rules_directory: Path | None,
    log_level: str | None,
    log_format: str | None,
) -> None:
    """Run the sidecar beside a Prometheus and an Alertmanager.

    Works without a configuration file: it then proposes by itself what to
    watch. Options win over the file. SIGHUP or POST /-/reload reads the file
    again; SIGTERM stops within seconds and loses nothing.

    \b
    In prometheus.yml:                        In alertmanager.yml, before your own routes:
      scrape_configs:                           route:
      - job_name: pronoia                         routes:
        static_configs:                           - {receiver: pronoia, continue: true}
        - targets: [HOST:9469]                  receivers:
      - job_name: pronoia-synthetic             - name: pronoia
        honor_labels: true                        webhook_configs:
        metrics_path: /synthetic                  - url: http://HOST:9469/webhooks/alertmanager
        static_configs:
        - targets: [HOST:9469]
      rule_files:
      - RULES-DIR/*.rules.yaml

    \b
    Examples:
      pronoia run --prometheus http://localhost:9090 --rules-dir /etc/prometheus/rules
      pronoia run --config pronoia.yaml
    """
    # By default one ends the process: whoever has just changed the configuration says so while it starts.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    overrides = neighbours(prometheus_url, alertmanager_urls)
    given: list[tuple[str, str, Any]] = [
        ("server", "listen", listen),
        ("store", "directory", data_directory),
        ("rules", "directory", rules_directory),
        ("log", "level", log_level),
        ("log", "format", log_format),
    ]
    for section, key, value in given:
        if value is not None:
            overrides.setdefault(section, {})[key] = value
    with stopped_at_once():  # Until the process itself listens to signals.
        config = read_config(config_path, overrides)

        keep_compiled_code_beside(config.store.directory)
        _have_temporary_files(config.store.directory)

        from sidecar.app.deadline import exit_in_time, leave
        from sidecar.app.process import Sidecar
        from sidecar.telemetry import configure_logs

        configure_logs(config.log.level, config.log.format)
        process = Sidecar(config, load=lambda: load_config(config_path, overrides), on_stop=exit_in_time)
        code = asyncio.run(process.run())
    leave(code)
