"""`pronoia rules join`: a rule's threshold as a series with the number as fallback, or a number again."""

from __future__ import annotations

import getpass
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sidecar.cli.options import config_option, data_option
from sidecar.cli.rules_adapted import adapted_rules
from sidecar.cli.rules_revisions import server_options, stated_config
from sidecar.cli.stored import with_store
from sidecar.errors import RuleError, RuleReason

if TYPE_CHECKING:
    from rules.read import WrittenRule
    from sidecar.store.protocol import Store


@click.command()
@config_option
@data_option
@server_options
@click.option("--back", is_flag=True, help="A number again: the one that holds now.")
@click.option("--approver", default=getpass.getuser, help="Who says so; it is remembered.  [default: you]")
@click.argument("alert")
def join(
    config_path: Path | None,
    data_directory: Path | None,
    prometheus_url: str | None,
    rules_directory: Path | None,
    back: bool,
    approver: str,
    alert: str,
) -> None:
    """Join ALERT's threshold with the series pronoia_rule_threshold, once; no reload is needed after that.

    The number stays in the rule and holds while that series is gone. Only the running sidecar
    exports it, and only once an adaptation was approved: until then nothing changes.

    \b
    Examples:
      pronoia rules join SearchSlow
      pronoia rules join SearchSlow --back

    Exit codes: 0 done, 1 it was refused or failed, 2 wrong use.
    """
    config = stated_config(config_path, data_directory, prometheus_url, rules_directory)

    async def work(store: Store) -> str:
        from prometheus_client import CollectorRegistry

        from rules.adapt.change import Change
        from rules.adapt.limits import refuse_frozen
        from rules.adapt.place import THRESHOLD
        from rules.adapt.places import own_rules, place_finder, place_name
        from rules.adapt.plan import check_cost
        from rules.adapt.text import rewrite_text
        from rules.adapt.threshold_series import ThresholdSeries
        from sidecar.prometheus.client import PrometheusClient
        from sidecar.prometheus.session import PullMetrics

        refuse_frozen(config.rules.adapt, time.time())
        async with PrometheusClient(config.prometheus, metrics=PullMetrics(CollectorRegistry())) as client:
            rule = _the_one(
                [one for one in await own_rules(config.rules, client) if one.name == alert], alert
            )
            group = place_name(rule)
            if group is None:
                raise RuleError(RuleReason.NOT_WRITABLE, f"{alert}: {rule.file} is not on this machine")
            series = ThresholdSeries(store)
            expr = _joined(rule, back=back, value=(await series.current()).get(rule.key))
            rewrites = [(rule, replace(rule, expr=expr))]
            place = place_finder(config.rules)(group)
            before = await place.read() or ""
            evidence: dict[str, object] = dict(
                await check_cost(rewrites, client, at_ms=int(time.time() * 1000))
            )
            told = {"rule": rule.key, "name": rule.name, "before": rule.expr, "after": expr, "form": "series"}
            what = "a number again" if back else f"joined with a series, {THRESHOLD}{rule.key}"
            evidence["rules"] = [{**told, "changes": [what], "argument": f"as {approver} asked for"}]
            after = rewrite_text(before, rewrites)
            await adapted_rules(config, client, store).publish(
                Change(group, before, after, rewrites, evidence, approver)
            )
            return f"{alert}: {what}; loaded and healthy"

    click.echo(with_store(config, work, make=True))


def _the_one(found: list[WrittenRule], alert: str) -> WrittenRule:
    if len(found) == 1:
        return found[0]
    how_many = f"{len(found)} alerts are" if found else "no alert is"
    raise RuleError(RuleReason.NOT_APPLICABLE, f"{how_many} named {alert!r} in rules of your own")


def _joined(rule: WrittenRule, *, back: bool, value: float | None) -> str:
    from rules.adapt.joined import with_series, without_series
    from rules.read import taken_apart

    plain = without_series(rule.expr, value)
    if back and plain is None:
        raise RuleError(RuleReason.NOT_APPLICABLE, f"{rule.name} is not joined with a series")
    if not back and plain is not None:
        raise RuleError(RuleReason.NOT_APPLICABLE, f"{rule.name} is joined with a series already")
    if plain is not None:
        return plain
    comparison = taken_apart(rule)
    if isinstance(comparison, str):
        raise RuleError(RuleReason.NOT_APPLICABLE, f"{rule.name}: {comparison}")
    try:
        return with_series(rule.expr, rule.name, rule.key)
    except ValueError as error:
        raise RuleError(RuleReason.NOT_APPLICABLE, f"{rule.name}: {error}") from error
