"""`pronoia import`: another detector's configuration as one of pronoia's."""

from __future__ import annotations

import asyncio
import os
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import yaml

from sidecar import plain_yaml
from sidecar.cli.options import read_config
from sidecar.config.load import load_text
from sidecar.config.vmanomaly import Imported, from_vmanomaly
from sidecar.durable import write_named
from sidecar.errors import ConfigError, PullError

if TYPE_CHECKING:
    from sidecar.series import SeriesBatch

NAMED = 'count by (__name__, anomaly_name, anomaly_type) ({anomaly_name!="", anomaly_select=""})'
"""Series tagged for grafana/promql-anomaly-detection; what that framework records has anomaly_select."""

out_option = click.option(
    "--out",
    "target",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("pronoia.yaml"),
    show_default=True,
    help="File to write; - for standard output.",
)
force_option = click.option("--force", is_flag=True, help="Overwrite the file if it is there.")


@click.group("import")
def import_() -> None:
    """Turn another detector's configuration into one of pronoia's, and list what has no equivalent."""


@import_.command()
@click.argument(
    "files", nargs=-1, required=True, type=click.Path(path_type=Path, dir_okay=False, exists=True)
)
@out_option
@force_option
def vmanomaly(files: tuple[Path, ...], target: Path, force: bool) -> None:
    """Translate vmanomaly's configuration FILES; several are merged, later ones win.

    \b
    Example:
      pronoia import vmanomaly vmanomaly.yaml --out pronoia.yaml

    Exit codes: 0 everything has an equivalent, 1 something has none (it is listed), 2 wrong use.
    """
    source: dict[str, Any] = {}
    for file in files:
        try:
            document = plain_yaml.load(file.read_text(encoding="utf-8"))
        except yaml.YAMLError as error:
            words = f"{file}: {plain_yaml.place_of(error)} {plain_yaml.words_of(error)}"
            raise click.BadParameter(words, param_hint="FILES") from error
        except UnicodeDecodeError as error:
            raise click.BadParameter(f"{file}: cannot be read: {error}", param_hint="FILES") from error
        if not isinstance(document, dict):
            raise click.BadParameter(f"{file}: is not a configuration", param_hint="FILES")
        source |= document
    try:
        found = from_vmanomaly(source)
    except (TypeError, ValueError, AttributeError) as error:
        raise click.BadParameter(
            f"is not a configuration of vmanomaly: {error}", param_hint="FILES"
        ) from error
    _write(found, ", ".join(str(file) for file in files), target, force)


@import_.command()
@click.option(
    "--prometheus", "prometheus_url", metavar="URL", default="http://localhost:9090", show_default=True
)
@out_option
@force_option
def labels(prometheus_url: str, target: Path, force: bool) -> None:
    """Watch what series labelled `anomaly_name` on a Prometheus stand for.

    \b
    Example:
      pronoia import labels --prometheus http://localhost:9090 --out pronoia.yaml

    Exit codes: 0 everything has an equivalent, 1 something has none or nothing is labelled, 2 wrong use.
    """
    try:
        batch = asyncio.run(_ask(prometheus_url))
    except PullError as error:
        click.echo(f"pronoia: {error}", err=True)
        raise SystemExit(1) from error
    if not batch.n_series:
        click.echo('pronoia: no series has the label anomaly_name; try "pronoia init"', err=True)
        raise SystemExit(1)
    _write(_from_labels(batch, prometheus_url), prometheus_url, target, force)


async def _ask(url: str) -> SeriesBatch:
    from prometheus_client import CollectorRegistry

    from sidecar.prometheus.client import PrometheusClient
    from sidecar.prometheus.session import PullMetrics

    config = read_config(None, {"prometheus": {"url": url, "retries": 1}})
    async with PrometheusClient(config.prometheus, metrics=PullMetrics(CollectorRegistry())) as client:
        return await client.instant(NAMED, at_ms=round(time.time() * 1000), name="import", max_series=10_000)


def _from_labels(batch: SeriesBatch, url: str) -> Imported:
    found = Imported()
    queries: dict[str, dict[str, Any]] = {}
    for series in batch.labels:
        name = "".join(c if c.isalnum() and c.isascii() else "_" for c in series["anomaly_name"])
        name = f"_{name}" if name[:1].isdigit() else name
        metric = series.get("__name__", "")
        while name in queries:
            name += "_"
        expr = series.without("anomaly_type").selector()
        queries[name] = {"name": name, "expr": expr[:-1] + ',anomaly_select=""}'}
        if series.get("anomaly_type") == "requests":
            found.left_out.append(
                f"{metric}, anomaly_type requests: the filter of rare requests; see `traffic` of a query"
            )
    found.document = {
        "prometheus": {"url": url},
        "queries": list(queries.values()),
        "export": {"metric_format": ["pronoia", "promql_anomaly_detection"]},
    }
    found.left_out.append("values of 0 and below, which the framework never judges, are judged here")
    return found


def _write(found: Imported, origin: str, target: Path, force: bool) -> None:
    text = f"# pronoia's configuration, made from {origin}. Edit it freely, then: pronoia run --config FILE\n"
    text += yaml.safe_dump(found.document, sort_keys=False, width=110, allow_unicode=True)
    if found.left_out:
        text += "\n# Without an equivalent, or different:\n"
        text += "".join(f"#   {' '.join(one.split())}\n" for one in found.left_out)
    try:
        load_text(text, env=_any_environment(found.document), source="the translated configuration")
    except ConfigError as error:
        click.echo(f"pronoia: {error}\nThe file is written all the same; correct these.", err=True)
        found.left_out.append(str(error))
    if str(target) == "-":
        click.echo(text, nl=False)
    else:
        if target.exists() and not force:
            click.echo(
                f"pronoia: {target} is there already; give --force to overwrite it, or --out", err=True
            )
            raise SystemExit(2)
        try:
            write_named(target, lambda file: file.write(text.encode()))
        except OSError as error:
            click.echo(f"pronoia: {error}", err=True)
            raise SystemExit(1) from error
        n_queries = len(found.document["queries"])
        click.echo(
            f"{target}: {n_queries} queries; {len(found.left_out)} things without an equivalent, at its end."
        )
    raise SystemExit(1 if found.left_out else 0)


def _any_environment(document: object) -> dict[str, str]:
    """The environment, and an empty string for each variable that only the place of use will know."""
    return dict.fromkeys(re.findall(r"\$\{(\w+)", repr(document)), "") | dict(os.environ)
