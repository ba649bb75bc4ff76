"""`pronoia rules republish`: a revision of generated rules that was taken back, live again."""

from __future__ import annotations

import difflib
import getpass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sidecar.cli.options import config_option, data_option
from sidecar.cli.rules_revisions import (
    found_revision,
    needed_loop,
    rule_servers,
    server_options,
    stated_config,
)
from sidecar.cli.stored import with_store
from sidecar.config.fields import format_duration

if TYPE_CHECKING:
    from sidecar.store.protocol import Store


@click.command()
@config_option
@data_option
@server_options
@click.option("--approver", default=getpass.getuser, help="Who says so; it is remembered.  [default: you]")
@click.option("--dry-run", is_flag=True, help="Show what would change and check it; change nothing.")
@click.argument("revision")
def republish(
    config_path: Path | None,
    data_directory: Path | None,
    prometheus_url: str | None,
    rules_directory: Path | None,
    approver: str,
    dry_run: bool,
    revision: str,
) -> None:
    """Put REVISION of generated rules live again, as after a rollback that was a mistake.

    It is checked as it was the first time, and taken back where Prometheus does not show it healthy. What was
    live once is live at once; of a shadow that was ended a shadow runs again.

    \b
    Examples:
      pronoia rules republish 3f9c2ab1 --dry-run
      pronoia rules republish 3f9c2ab1
    """
    config = stated_config(config_path, data_directory, prometheus_url, rules_directory)

    async def work(store: Store) -> str:
        from rules.republish import checked, republish

        wanted = await found_revision(store, revision)
        async with rule_servers(config, store) as (loop, _, _):
            reviser = needed_loop(loop).reviser
            if not dry_run:
                done = await republish(reviser, wanted, approver=approver)
                if done.state == "live":
                    return f"{done.group}: {done.content_hash} is live\n"
                shadow = format_duration(config.rules.canary)
                return f"{done.group}: {done.content_hash} runs as a shadow for {shadow}\n"
            before, checks = await checked(reviser, wanted, promtool=config.rules.promtool)
            lines = difflib.unified_diff(
                before.splitlines(keepends=True),
                wanted.content.splitlines(keepends=True),
                "in place",
                wanted.content_hash,
            )
            return "".join([*lines, *(f"{name}: {words}\n" for name, words in checks.items())])

    click.echo(with_store(config, work), nl=False)
