"""`pronoia doctor`: what is reachable, what is misconfigured, what to do."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sidecar.cli.options import (
    config_option,
    data_option,
    format_option,
    neighbour_options,
    neighbours,
    read_config,
)
from sidecar.cli.reach import within_reach
from sidecar.cli.troubles import Trouble
from sidecar.config.fields import format_duration
from sidecar.telemetry import redact_url

if TYPE_CHECKING:
    from sidecar.config.model import AlertmanagerConfig, Config
    from sidecar.prometheus.session import PullMetrics

QUERY = "query "
CLOCKS_DIFFER_SECONDS = 60.0
"""As the alert PronoiaClockOff."""
NAMED = 6
"""So many places of one fault are named; `--format json` has all."""


@click.command()
@config_option
@neighbour_options
@data_option
@click.option(
    "--rules-dir",
    "rules_directory",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of adaptive rules, where pronoia run is given one.",
)
@format_option
def doctor(
    config_path: Path | None,
    prometheus_url: str | None,
    alertmanager_urls: tuple[str, ...],
    data_directory: Path | None,
    rules_directory: Path | None,
    output: str,
) -> None:
    """Look around, ask Prometheus and the Alertmanagers, and say what would make pronoia blind.

    \b
    It looks for: files and folders that it cannot use; servers that do not answer; a
    Prometheus that would not load rules, does not scrape /synthetic, or whose clock differs; an
    Alertmanager without a route to pronoia, with send_resolved off, with max_alerts,
    with intervals that lose ends; no alert that fires always, which would show that alerts arrive at all.

    Give it what pronoia run is given.

    \b
    Examples:
      pronoia doctor --config pronoia.yaml
      pronoia doctor --prometheus http://localhost:9090 --rules-dir /etc/prometheus/rules

    Exit codes: 0 nothing found, 1 something was found, 2 wrong use.
    """
    overrides = neighbours(prometheus_url, alertmanager_urls)
    if data_directory is not None:
        overrides["store"] = {"directory": data_directory}
    if rules_directory is not None:
        overrides["rules"] = {"directory": rules_directory}
    findings = asyncio.run(_look(read_config(config_path, overrides)))
    if output == "json":
        click.echo(json.dumps(findings))
    else:
        for places, one in _by_fault(findings):
            click.echo(f"{one['level']:<8} {places}: {one['what']}\n         {one['remedy']}")
        if not findings:
            click.echo("fine: everything answers, and nothing would make pronoia blind")
    raise SystemExit(1 if findings else 0)


def _by_fault(findings: list[dict[str, str]]) -> Iterator[tuple[str, dict[str, str]]]:
    """Each fault once, with the places that have it: what ails one query often ails all of them."""
    faults: dict[tuple[str, str, str], list[dict[str, str]]] = {}
    for one in findings:
        faults.setdefault((one["level"], one["what"], one["remedy"]), []).append(one)
    for alike in faults.values():
        names = [one["where"] for one in alike]
        if len(names) > 1 and all(name.startswith(QUERY) for name in names):
            names = [name.removeprefix(QUERY) for name in names]
            names[0] = f"queries {names[0]}"
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        yield ", ".join(names[:NAMED]) + more, alike[0]


async def _look(config: Config) -> list[dict[str, str]]:
    """Everything that is wrong, this machine first, then the neighbours."""
    from prometheus_client import CollectorRegistry

    from sidecar.cli.doctor_places import examine_places
    from sidecar.prometheus.session import PullMetrics

    metrics = PullMetrics(CollectorRegistry())
    found = await asyncio.to_thread(lambda: list(examine_places(config)))
    found += [trouble async for trouble in _ask_prometheus(config)]
    if not config.alertmanagers:
        found.append(
            Trouble(
                "warning",
                "alertmanagers",
                "none is configured, so ends under a silence and alerts missed while down stay unknown",
                "list every Alertmanager that sends to pronoia under alertmanagers",
            )
        )
    if await asyncio.to_thread(_lacks_heartbeat, config):
        name = config.webhook.heartbeat.alertnames[0]
        found.append(
            Trouble(
                "warning",
                "alerts",
                "none of those that fire is a heartbeat, so a way of alerts that breaks looks like calm",
                f"add one that fires always, named {name} (docs/incidents.md)",
            )
        )
    receivers = await asyncio.to_thread(_receivers, config)
    for one in config.alertmanagers:
        found += [trouble async for trouble in _ask_alertmanager(config, one, receivers, metrics)]
    return [trouble._asdict() for trouble in found]


async def _ask_prometheus(config: Config) -> AsyncIterator[Trouble]:
    """Whether it answers, and what makes the queries' data hard to judge."""
    from sidecar.cli.doctor_data import examine_data, held_back_seconds
    from sidecar.cli.doctor_prometheus import examine_settings
    from sidecar.errors import PullError
    from sidecar.loop.clock import SourceClock

    where, key = redact_url(config.prometheus.url), "prometheus.url"
    clock = SourceClock()

    try:
        async with within_reach(config.prometheus, on_server_time=clock.observe) as prometheus:
            skew_seconds = clock.skew_seconds
            if abs(skew_seconds) > CLOCKS_DIFFER_SECONDS:
                off = format_duration(round(abs(skew_seconds)))
                yield Trouble(
                    "warning",
                    where,
                    f"its clock is {off} {'ahead of' if skew_seconds > 0 else 'behind'} this machine's",
                    "set the one that is wrong (chronyc tracking): scores go by its clock, incidents and "
                    "silences by this one",
                )
            held_back = math.ceil(await held_back_seconds(prometheus, clock.now()))
            if held_back > 1 + min((query.offset for query in config.queries), default=0.0):
                yield Trouble(
                    "warning",
                    where,
                    f"what it says of the last {held_back} s is older than that, and changes later",
                    f"give every query offset: {held_back}s, or start VictoriaMetrics "
                    "with -search.latencyOffset=1s",
                )
            # Thanos and others do not tell; what is wrong then shows when the first rule is not loaded.
            with suppress(PullError):
                for trouble in examine_settings(config, where, *await prometheus.settings_told()):
                    yield trouble
            for query in config.queries:
                for doubt in await examine_data(prometheus, query, config, clock.now()):
                    yield Trouble("warning", f"{QUERY}{query.name}", doubt.words, doubt.remedy)
            if config.prometheus.evaluator is not None:
                where, key = redact_url(config.prometheus.evaluator.url), "prometheus.evaluator"
                await prometheus.rules()
    except PullError as error:
        yield Trouble("error", where, f"cannot be asked: {error}", f"check {key} and its credentials")


async def _ask_alertmanager(
    config: Config, one: AlertmanagerConfig, receivers: set[str], metrics: PullMetrics
) -> AsyncIterator[Trouble]:
    """Whether it answers, and what in its configuration would make pronoia blind."""
    from rules.adapt.routes import reached_by_shadows
    from sidecar.errors import PullError
    from sidecar.prometheus.alertmanager import AlertmanagerClient
    from webhooks.doctor import examine

    where = redact_url(one.url)
    try:
        async with AlertmanagerClient(one, metrics=metrics) as client:
            status: dict[str, Any] = await client.status()
    except PullError as error:
        yield Trouble("error", where, f"cannot be asked: {error}", "check its url and its credentials")
        return
    text = str((status.get("config") or {}).get("original") or "")
    for finding in examine(text, receivers):
        yield Trouble(finding.level, where, finding.what, finding.remedy)
    if config.rules.canary or config.rules.adapt.canary:
        for receiver in reached_by_shadows(text):
            yield Trouble(
                "warning",
                where,
                f"shadows of rules may reach the receiver {receiver}",
                'route pronoia_canary="true" to a receiver without integrations, before all others',
            )


def _receivers(config: Config) -> set[str]:
    """Names of the receivers that delivered lately, where there is a database."""
    rows = _ask(
        config,
        "select distinct receiver from (select receiver from deliveries where external_url != '' "
        "order by id desc limit 2000)",
    )
    return {str(row[0]) for row in rows if row[0]}


def _lacks_heartbeat(config: Config) -> bool:
    """Whether alerts have arrived, and none of them is the one that fires always."""
    firing = "select 1 from episodes where state != 'resolved' and json_extract(labels, '$.alertname') "
    names = config.webhook.heartbeat.alertnames
    beats = _ask(config, f"{firing} in ({', '.join('?' * len(names))}) limit 1", names)
    return bool(_receivers(config)) and not beats


def _ask(config: Config, sql: str, parameters: tuple[str, ...] = ()) -> list[Any]:
    """Rows of the database; none where there is none of this schema (what is wrong is found elsewhere)."""
    import sqlite3

    from sidecar.errors import StoreError
    from sidecar.store.connection import FILE, reading

    path = config.store.directory / FILE
    if not path.exists():
        return []
    try:
        with reading(path) as connection:
            return connection.execute(sql, parameters).fetchall()
    except (sqlite3.Error, StoreError):
        return []
