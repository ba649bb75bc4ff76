"""`pronoia rules approve|reject`: what the running sidecar proposed, let go or refused by a person."""

from __future__ import annotations

import getpass
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sidecar.cli.options import config_option, data_option
from sidecar.cli.rules_adapted import adapted_rules
from sidecar.cli.rules_revisions import found_revision, server_options, stated_config
from sidecar.cli.stored import with_store
from sidecar.config.fields import format_duration
from sidecar.errors import RuleError, RuleReason

if TYPE_CHECKING:
    from sidecar.store.protocol import Store


@click.command()
@config_option
@data_option
@server_options
@click.option("--approver", default=getpass.getuser, help="Who says so; it is remembered.  [default: you]")
@click.argument("revision")
def approve(
    config_path: Path | None,
    data_directory: Path | None,
    prometheus_url: str | None,
    rules_directory: Path | None,
    approver: str,
    revision: str,
) -> None:
    """Put REVISION, a rewrite that waits (`pronoia rules log --state proposed`), on its way.

    Its cost is checked again; with `rules.adapt.canary` it runs as a shadow first. What was
    changed elsewhere in the place meanwhile stays.

    \b
    Example:
      pronoia rules approve 3f9c2ab1
    """
    config = stated_config(config_path, data_directory, prometheus_url, rules_directory)

    async def work(store: Store) -> str:
        from prometheus_client import CollectorRegistry

        from rules.adapt.limits import refuse_frozen
        from rules.adapt.place import is_place
        from rules.adapt.rewriter import Rewriter
        from rules.adapt.threshold_series import ThresholdSeries
        from sidecar.prometheus.client import PrometheusClient
        from sidecar.prometheus.session import PullMetrics

        refuse_frozen(config.rules.adapt, time.time())
        waiting = await found_revision(store, revision)
        if not is_place(waiting.group):
            done = await ThresholdSeries(store).approve(waiting, approver=approver)
            return f"{done.group}: {done.content} is exported by the running sidecar"
        async with PrometheusClient(config.prometheus, metrics=PullMetrics(CollectorRegistry())) as client:
            rewriter = Rewriter(adapted_rules(config, client, store), client, config.rules)
            done = await rewriter.approve(
                waiting,
                approver=approver,
                at_ms=int(time.time() * 1000),
            )
        how = "is live"
        if done.state == "canary":
            days = format_duration(config.rules.adapt.canary)
            how = f"runs beside it as a shadow for {days}; live then, if `pronoia run` sees it do well"
        return f"{done.group}: {done.content_hash} {how}"

    click.echo(with_store(config, work))


@click.command()
@config_option
@data_option
@click.option("--why", default="", help="Remembered with it.")
@click.argument("revision")
def reject(config_path: Path | None, data_directory: Path | None, why: str, revision: str) -> None:
    """Refuse REVISION, a rewrite that waits. The very same text is not proposed again.

    \b
    Example:
      pronoia rules reject 3f9c2ab1 --why 'the release was known'
    """
    config = stated_config(config_path, data_directory)

    async def work(store: Store) -> str:
        import msgspec

        waiting = await found_revision(store, revision)
        if waiting.state != "proposed":
            raise RuleError(
                RuleReason.NOT_APPLICABLE,
                f"{waiting.content_hash} is {waiting.state} and does not wait: there is nothing to refuse",
            )
        await store.put_revision(
            msgspec.structs.replace(waiting, state="rejected", reason=why or "refused by a person")
        )
        return f"{waiting.group}: {waiting.content_hash} is refused"

    click.echo(with_store(config, work))
