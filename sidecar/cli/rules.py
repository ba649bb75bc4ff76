"""`pronoia rules`: what was generated, what is live, and taking it back."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import click
import msgspec
from prometheus_client import CollectorRegistry

from sidecar.cli.options import config_option, data_option, format_option, read_config
from sidecar.cli.rules_audit import audit
from sidecar.cli.rules_replay import replay
from sidecar.config.model import Config
from sidecar.errors import SidecarError
from sidecar.store.sqlite import SqliteStore

T = TypeVar("T")


@click.group()
def rules() -> None:
    """Adaptive rules: what was generated, what is live, roll back."""


rules.add_command(audit)
rules.add_command(replay)


def _with_store(config: Config, work: Callable[[SqliteStore], Awaitable[T]]) -> T:
    async def run() -> T:
        store = await SqliteStore.open(config.store, registry=CollectorRegistry())
        try:
            return await work(store)
        finally:
            await store.close()

    try:
        return asyncio.run(run())
    except SidecarError as error:
        click.echo(f"pronoia: {error}", err=True)
        raise SystemExit(1) from error


@rules.command("list")
@config_option
@data_option
@format_option
@click.option("--group", help="Only this group.")
def list_revisions(
    config_path: Path | None, data_directory: Path | None, output: str, group: str | None
) -> None:
    """Revisions of generated rule files, newest first."""
    overrides = {"store": {"directory": data_directory}} if data_directory else {}
    config = read_config(config_path, overrides)
    found = _with_store(config, lambda store: store.revisions(group=group, limit=1000))
    if output == "json":
        click.echo(json.dumps(msgspec.to_builtins(found)))
        return
    if not found:
        click.echo(
            "no rule was generated yet; rules.directory or rules.publish must be set, "
            "and history be long enough"
        )
    for revision in found:
        made = datetime.fromtimestamp(revision.created_at_ns / 1e9, UTC).isoformat(" ", "seconds")
        click.echo(
            f"{made}  {revision.state:<11} {revision.group}  {revision.content_hash}  {revision.reason}"
        )


@rules.command()
@config_option
@data_option
@click.option("--prometheus", "prometheus_url", metavar="URL", help="Prometheus that loads the rules.")
@click.option("--rules-dir", "rules_directory", type=click.Path(path_type=Path, file_okay=False))
@click.argument("group")
def rollback(
    config_path: Path | None,
    data_directory: Path | None,
    prometheus_url: str | None,
    rules_directory: Path | None,
    group: str,
) -> None:
    """Take back the live revision of GROUP; the one before it, or none, is loaded instead.

    The revision that was taken back is not published again.
    """
    from rules.loop import RulesLoop
    from rules.revise import RuleMetrics
    from sidecar.events import EventBus
    from sidecar.prometheus.client import PrometheusClient
    from sidecar.prometheus.session import PullMetrics
    from sidecar.records import RuleRevision
    from sidecar.series import LearnedBand

    overrides: dict[str, dict[str, object]] = {}
    for section, key, value in (
        ("store", "directory", data_directory),
        ("prometheus", "url", prometheus_url),
        ("rules", "directory", rules_directory),
    ):
        if value is not None:
            overrides.setdefault(section, {})[key] = value
    config = read_config(config_path, overrides)
    if not config.rules.enabled:
        click.echo(
            "pronoia: neither rules.directory nor rules.publish is set; give --config or --rules-dir",
            err=True,
        )
        raise SystemExit(2)

    async def no_bands() -> list[LearnedBand]:
        return []

    async def work(store: SqliteStore) -> RuleRevision | None:
        registry = CollectorRegistry()
        async with PrometheusClient(config.prometheus, metrics=PullMetrics(registry)) as client:
            loop = RulesLoop(
                config.rules,
                queries=lambda: config.queries,
                bands=no_bands,
                server=client,
                store=store,
                bus=EventBus(),
                metrics=RuleMetrics(registry),
            )
            return await loop.rollback(group)

    before = _with_store(config, work)
    what = f"revision {before.content_hash} is back" if before else "its file is removed"
    click.echo(f"{group}: taken back; {what}")
