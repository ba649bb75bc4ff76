"""`pronoia rules drift`: whether store, places and Prometheus agree, and putting that right."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sidecar.cli.options import config_option, data_option, format_option
from sidecar.cli.rules_revisions import needed_loop, rule_servers, server_options, stated_config
from sidecar.cli.rules_table import print_table
from sidecar.cli.stored import with_store
from sidecar.errors import RuleError, RuleReason

if TYPE_CHECKING:
    from rules.drift import Drift
    from rules.loop import RulesLoop
    from sidecar.records import RuleRevision
    from sidecar.store.protocol import Store


@click.command()
@config_option
@data_option
@server_options
@format_option
@click.option("--repair", metavar="GROUP", help="Put the live revision's text back in this group's place.")
@click.option("--accept", metavar="GROUP", help="Keep what people made of file:PATH; it is theirs again.")
def drift(
    config_path: Path | None,
    data_directory: Path | None,
    prometheus_url: str | None,
    rules_directory: Path | None,
    output: str,
    repair: str | None,
    accept: str | None,
) -> None:
    """Compare what is stored as live with what is in its place and what Prometheus has loaded.

    What a killed process had begun is told of too.

    \b
    Examples:
      pronoia rules drift --prometheus http://localhost:9090 --rules-dir /etc/prometheus/rules
      pronoia rules drift --repair pronoia-cdn_error_ratio

    Exit codes: 0 all agree or a publication is under way, 1 something differs or failed, 2 wrong use.
    """
    config = stated_config(config_path, data_directory, prometheus_url, rules_directory)

    async def work(store: Store) -> list[Drift]:
        from rules.adapt.place import THRESHOLD, is_adapted
        from rules.adapt.places import place_finder
        from rules.drift import LATEST, drift_of, drift_of_place
        from rules.read import of_server

        place_of = place_finder(config.rules)
        async with rule_servers(config, store) as (loop, adapted, client):
            revisions = await store.revisions(state="live", limit=10_000)
            if accept is not None:
                await adapted.accept(accept)
                revisions = [one for one in revisions if one.group != accept]
            if repair is not None and is_adapted(repair):
                await adapted.repair(repair)
            elif repair is not None:
                await _repair(repair, revisions, needed_loop(loop))
            loaded = await client.rules()
            revisions += await adapted.of_state("begun")
            lately_ns = int((time.time() - 2 * config.rules.verify_seconds) * 1e9)
            found: list[Drift] = []
            for one in revisions:
                if one.group.startswith(THRESHOLD):
                    continue
                history = await store.revisions(group=one.group, limit=LATEST)
                if is_adapted(one.group):
                    place, rules = place_of(one.group), of_server(loaded)
                    each = await drift_of_place(one, place, rules, history=history, lately_ns=lately_ns)
                else:
                    own = needed_loop(loop).publisher
                    each = await drift_of(one, own, loaded, history=history, lately_ns=lately_ns)
                found.append(each)
            return found

    found = with_store(config, work)
    if output == "json":
        click.echo(json.dumps([asdict(one) for one in found]))
    else:
        _show_drift(found)
    raise SystemExit(0 if all(one.fine for one in found) else 1)


def _show_drift(found: list[Drift]) -> None:
    from rules.adapt.place import is_adapted
    from rules.publisher import Found

    if not found:
        click.echo("nothing that pronoia wrote is live")
        return
    print_table(
        ("group", "revision", "state", "in place", "loaded"),
        [
            (one.group, one.revision, one.state, one.in_place.value, "yes" if one.loaded else "no")
            for one in found
        ],
    )
    for one in found:
        if one.under_way:
            what = f"its place holds {one.instead}, " if one.instead else ""
            click.echo(f"{one.group}: {what}a publication that is under way; look again in a moment")
        elif one.state == "begun":
            click.echo(
                f"{one.group}: {one.revision} was begun and not seen healthy; a running pronoia undoes it "
                f"within a minute, else pronoia rules rollback {one.group}"
            )
        elif one.instead:
            click.echo(
                f"{one.group}: its place holds {one.instead}, as a roll-back under way or a killed process "
                f"leaves it; look again in a minute: pronoia rules rollback {one.group} ends it, "
                f"--repair {one.group} puts {one.revision} back"
            )
        elif one.in_place is not Found.SAME:
            theirs = f", --accept {one.group} leaves it to you" if is_adapted(one.group) else ""
            what = "is gone" if one.in_place is Found.ABSENT else "was edited since"
            click.echo(f"{one.group} {what}: --repair {one.group} puts pronoia's text back{theirs}")
        elif not one.loaded:
            click.echo(f"{one.group}: Prometheus runs other rules than these; reload it, and see its log")


async def _repair(group: str, revisions: list[RuleRevision], loop: RulesLoop) -> None:
    live = next((one for one in revisions if one.group == group), None)
    if live is None:
        raise RuleError(RuleReason.NOT_LOADED, f"{group}: no revision of it is live")
    await loop.publisher.restore(group, live.content)
