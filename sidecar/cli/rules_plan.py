"""`pronoia rules plan` and `apply`: rewrites of existing rules, argued for, then put in their place."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from sidecar.cli.left_alone import in_thread
from sidecar.cli.options import config_option, format_option
from sidecar.cli.rules_adapted import adapted_rules
from sidecar.cli.rules_progress import progress
from sidecar.cli.rules_source import OpenedSource, RuleSource, rule_source_options
from sidecar.cli.rules_table import print_table
from sidecar.cli.stored import opened_store
from sidecar.config.fields import format_duration
from sidecar.errors import PullError, RuleError, RuleReason, SidecarError

if TYPE_CHECKING:
    from rules.adapt.history import Adapted
    from rules.adapt.plan import Plan
    from sidecar.store.protocol import Store

T = TypeVar("T")


again_option = click.option(
    "--again", is_flag=True, help="Also rewrites like those that failed, were refused or taken back."
)


only_option = click.option("--only", multiple=True, metavar="ALERT", help="Only rules of this name.")


@click.command()
@rule_source_options
@only_option
@again_option
@config_option
@format_option
def plan(only: tuple[str, ...], again: bool, config_path: Path | None, output: str, **options: Any) -> None:
    """Propose rewrites of the rules that are there, with evidence and a diff. Nothing is written.

    What a rule measures is read once over the window; thresholds, `for` and
    `keep_firing_for` are chosen so that false alarms keep to `rules.adapt` and every
    incident is still caught as soon, and held against weeks they were not chosen on.

    \b
    Examples:
      pronoia rules plan --start 28d
      pronoia rules plan --only CheckoutSlow
      pronoia rules plan --rules rules/ --incidents incidents.yaml --format json

    Exit codes: 0 nothing to change, 1 changes are proposed or it failed, 2 wrong use.
    """
    from rules.adapt.history import pages_by_team

    source = RuleSource.of(options, config_path)

    async def work(opened: OpenedSource, store: Store) -> tuple[list[Adapted], list[Plan]]:
        adapted = await adapt_all(opened, store, again=again, only=only)
        return adapted, (await _planned(opened, adapted))[0]

    adapted, plans = _run(source, work)
    pages = pages_by_team(adapted, source.config.rules.adapt.team_label)
    if output == "json":
        click.echo(json.dumps({**_as_json(adapted, plans), "pages_per_week": pages}))
    else:
        _show(adapted, plans)
        if pages:
            print_table(("team", "pages a week"), [(team, f"{n:.1f}") for team, n in pages.items()])
    raise SystemExit(1 if any(one.changed for one in adapted) else 0)


@click.command()
@rule_source_options
@click.option(
    "--to",
    "target",
    type=click.Choice(["place", "git", "stdout"]),
    default="place",
    show_default=True,
    help="Where they are, a branch of the files' git working tree, or only shown.",
)
@only_option
@click.option("--approver", default="command line", show_default=True, help="Who says so; it is remembered.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@again_option
@config_option
def apply(
    target: str,
    only: tuple[str, ...],
    approver: str,
    yes: bool,
    again: bool,
    config_path: Path | None,
    **options: Any,
) -> None:
    """Rewrite the rules as `plan` proposes, place by place, each undone at once if it does not go well.

    A place is a file, a PrometheusRule object or a ruler's namespace (`rules.publish`). Its new
    text is checked (promtool, cost, number of alerts), written whole, loaded and seen
    healthy, or what was there is back. `pronoia rules rollback file:PATH` undoes it later.

    \b
    Examples:
      pronoia rules apply --rules rules/app.yaml --incidents incidents.yaml
      pronoia rules apply --rules rules/ --to git --yes

    Exit codes: 0 written or nothing to do, 1 something was refused or failed, 2 wrong use.
    """
    source = RuleSource.of(options, config_path)

    async def work(opened: OpenedSource, store: Store) -> int:
        if target == "git":
            await asyncio.to_thread(_in_git, source.rule_paths)  # Before a minute's work, not after it.
        adapted = await adapt_all(opened, store, again=again, only=only)
        plans, refused = await _planned(opened, adapted)
        for one in plans:
            click.echo(one.diff())
        if target == "place":
            await _to_series(opened, store, adapted, approver)
        if not plans:
            click.echo("no text to change\n")
            _show_left(adapted)
        elif target == "git":
            await asyncio.to_thread(_to_git, plans)
        elif target == "place" and (yes or click.confirm(f"rewrite {_rules(plans)}?")):
            return max(await _to_places(opened, store, plans, approver), bool(refused))
        return 1 if refused else 0

    raise SystemExit(_run(source, work))


def _run(source: RuleSource, work: Callable[[OpenedSource, Store], Awaitable[T]]) -> T:
    async def run() -> T:
        async with source.opened() as opened, opened_store(opened.config) as store:
            return await work(opened.with_alerts(), store)

    try:
        return asyncio.run(run())
    except SidecarError as error:
        click.echo(f"pronoia: {error}", err=True)
        raise SystemExit(1) from error


async def adapt_all(
    opened: OpenedSource, store: Store, *, again: bool, only: Collection[str] = ()
) -> list[Adapted]:
    """What becomes of every rule, or of `only` these, with what may not be changed now left as it is.

    Raises: RuleError where rules are frozen, or no alert has a name of `only`.
    """
    from rules.adapt.history import Adapter
    from rules.adapt.limits import refuse_frozen
    from rules.adapt.places import own_rules
    from rules.adapt.policy import allowed
    from rules.adapt.threshold_series import ThresholdSeries
    from sidecar.app.told_changes import told_changes

    config = opened.config.rules.adapt
    refuse_frozen(config, time.time())
    adapter = Adapter(opened.tester, config, knows_keep_firing=opened.knows_keep_firing, run=in_thread)
    rules = opened.rules if opened.named else await own_rules(opened.config.rules, opened.client)
    unknown = set(only) - {rule.name for rule in rules if rule.alerting}
    if unknown:
        raise RuleError(RuleReason.NOT_APPLICABLE, f"no alert is named {', '.join(sorted(unknown))}")
    if only and config.enough is None and not config.pages_per_week:
        rules = [rule for rule in rules if rule.name in only]  # Else each depends on all others.
    with progress("adapting", sum(rule.alerting for rule in rules)) as advance:
        adapted = await adapter.all(
            rules,
            opened.window,
            opened.incidents,
            thresholds=await ThresholdSeries(store).current(),
            told=await told_changes(store),
            on_done=advance,
        )
    refuse_frozen(config, time.time())  # Minutes later it may be.
    wanted = [one for one in adapted if not only or one.rule.name in only]
    return allowed(wanted, await store.revisions(limit=10_000), config, time.time(), again=again)


async def _planned(opened: OpenedSource, adapted: list[Adapted]) -> tuple[list[Plan], list[str]]:
    """The plans, and the places that cannot be planned, which are told of."""
    from rules.adapt.places import place_finder
    from rules.adapt.plan import elsewhere, plan_places

    refused: list[str] = []
    for error in elsewhere(adapted):
        refused.append(str(error))
        click.echo(f"pronoia: {error}", err=True)

    def on_refused(place: str, error: RuleError) -> None:
        refused.append(place)
        click.echo(f"pronoia: {error}; it is left alone", err=True)

    return await plan_places(adapted, place_finder(opened.config.rules), on_refused=on_refused), refused


async def _to_series(opened: OpenedSource, store: Store, adapted: list[Adapted], approver: str) -> None:
    """Thresholds that are series: nothing is reloaded, the running sidecar exports them."""
    from rules.adapt.plan import evidence_of
    from rules.adapt.threshold_series import ThresholdSeries

    for one in adapted:
        if one.changed and one.joined:
            evidence: dict[str, object] = {"days": opened.window.days, "rules": [evidence_of(one)]}
            if await ThresholdSeries(store).put(one, evidence, approver=approver) is not None:
                click.echo(f"{one.rule.name}: {'; '.join(one.changes)}, exported as a series")


async def _to_places(opened: OpenedSource, store: Store, plans: list[Plan], approver: str) -> int:
    from rules.adapt.rewriter import Rewriter
    from rules.publisher import NotPutBack

    rules = adapted_rules(opened.config, opened.client, store)
    rewriter = Rewriter(rules, opened.client, opened.config.rules)
    failed = 0
    for one in plans:
        try:
            done = await rewriter.put(one, opened.window, approver=approver)
        except (RuleError, PullError) as error:
            failed += 1
            state = "see pronoia rules drift" if isinstance(error, NotPutBack) else "it is as it was"
            click.echo(f"pronoia: {one.place}: {error}; {state}", err=True)
            continue
        how = "rewritten, loaded and healthy"
        if done.state == "canary":
            days = format_duration(opened.config.rules.adapt.canary)
            how = f"run beside it as shadows for {days}; live then, if `pronoia run` sees them do well"
        click.echo(f"{one.place}: {_rules([one])} {how}")
    return 1 if failed else 0


def _in_git(paths: Sequence[Path]) -> None:
    """Raises: RuleError where one of them is in no git working tree."""
    from rules.adapt.git import working_tree

    for path in paths:
        working_tree(path)


def _to_git(plans: list[Plan]) -> None:
    from rules.adapt.git import commit_branch
    from rules.adapt.plan import message_of
    from rules.adapt.text import rewrite_text

    changes = {
        one.path: partial(rewrite_text, rewrites=one.rewrites) for one in plans if one.path is not None
    }
    if len(changes) < len(plans):
        raise RuleError(
            RuleReason.NOT_APPLICABLE, "--to git needs rules that were read from files: give --rules"
        )
    branch = f"pronoia/adapt-{int(time.time())}"
    commit = commit_branch(next(iter(changes)).parent, branch, changes, message_of(plans))
    click.echo(f"branch {branch}, commit {commit[:12]}")


def _show(adapted: list[Adapted], plans: list[Plan]) -> None:
    from rules.adapt.plan import argument

    for one in adapted:
        if one.changed:
            click.echo(f"{one.rule.name}: {'; '.join(one.changes)}")
            click.echo(f"    {argument(one)}")
    click.echo()
    _show_left(adapted)
    click.echo()
    for each in plans:
        click.echo(each.diff())


def _show_left(adapted: list[Adapted]) -> None:
    left = [(one.rule.name, one.why_not) for one in adapted if not one.changed]
    if left:
        print_table(("left as it is", "why"), left)


def _rules(plans: list[Plan]) -> str:
    """How many rules, and in how many places where that is not plain.

    >>> _rules([])
    '0 rules in 0 places'
    """
    n = sum(len(one.adapted) for one in plans)
    rules = f"{n} rule{'s' * (n != 1)}"
    return rules if len(plans) == 1 else f"{rules} in {len(plans)} places"


def _as_json(adapted: list[Adapted], plans: list[Plan]) -> dict[str, Any]:
    from rules.adapt.plan import evidence_of

    return {
        "proposed": [evidence_of(one) for one in adapted if one.changed],
        "left": {one.rule.key: one.why_not for one in adapted if not one.changed},
        "diffs": {one.place: one.diff() for one in plans},
    }
