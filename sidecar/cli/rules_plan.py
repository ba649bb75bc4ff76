"""`pronoia rules plan` and `apply`: rewrites of existing rules, argued for, then put in their place."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from sidecar.cli.options import config_option, format_option
from sidecar.cli.rules_progress import progress
from sidecar.cli.rules_source import OpenedSource, RuleSource, rule_source_options
from sidecar.cli.rules_table import print_table
from sidecar.cli.stored import opened_store
from sidecar.errors import RuleError, RuleReason, SidecarError

if TYPE_CHECKING:
    from rules.adapt.history import Adapted
    from rules.adapt.plan import FilePlan
    from sidecar.records import RuleRevision
    from sidecar.store.sqlite import SqliteStore

T = TypeVar("T")


@click.command()
@rule_source_options
@config_option
@format_option
def plan(config_path: Path | None, output: str, **options: Any) -> None:
    """Propose rewrites of the rules that are there, with evidence and a diff. Nothing is written.

    What a rule measures is read once over the window; thresholds, `for` and
    `keep_firing_for` are chosen so that false alarms keep to `rules.adapt` and every
    incident is still caught as soon, and held against weeks they were not chosen on.

    \b
    Examples:
      pronoia rules plan --start 28d
      pronoia rules plan --rules rules/ --incidents incidents.yaml --format json

    Exit codes: 0 nothing to change, 1 changes are proposed or it failed, 2 wrong use.
    """
    from rules.adapt.history import pages_by_team

    source = RuleSource.of(options, config_path)

    async def work(opened: OpenedSource, store: SqliteStore) -> tuple[list[Adapted], list[FilePlan]]:
        from rules.adapt.plan import plan_files

        adapted = await adapt_all(opened, store)
        return adapted, await asyncio.to_thread(plan_files, adapted)

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
    type=click.Choice(["files", "git", "stdout"]),
    default="files",
    show_default=True,
    help="In place with a reload, a branch of the files' git working tree, or only shown.",
)
@click.option("--only", multiple=True, metavar="ALERT", help="Only rules of this name.")
@click.option("--approver", default="command line", show_default=True, help="Who says so; it is remembered.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@config_option
def apply(
    target: str, only: tuple[str, ...], approver: str, yes: bool, config_path: Path | None, **options: Any
) -> None:
    """Rewrite the rules as `plan` proposes, file by file, each undone at once if it does not go well.

    A file is checked (promtool, cost, number of alerts), written whole, loaded and
    seen healthy, or what was there is back. `pronoia rules rollback file:PATH` undoes it later.

    \b
    Examples:
      pronoia rules apply --rules rules/app.yaml --incidents incidents.yaml
      pronoia rules apply --rules rules/ --to git --yes

    Exit codes: 0 written or nothing to do, 1 something was refused or failed, 2 wrong use.
    """
    source = RuleSource.of(options, config_path)

    async def work(opened: OpenedSource, store: SqliteStore) -> int:
        from rules.adapt.plan import plan_files

        adapted = [a for a in await adapt_all(opened, store) if not only or a.rule.name in only]
        plans = await asyncio.to_thread(plan_files, adapted)
        for one in plans:
            click.echo(one.diff())
        if not plans:
            click.echo("nothing to change")
        elif target == "git":
            await asyncio.to_thread(_to_git, plans)
        elif target == "files" and (yes or click.confirm(f"rewrite {len(plans)} files?")):
            return await _to_files(opened, store, plans, approver)
        return 0

    raise SystemExit(_run(source, work))


def _run(source: RuleSource, work: Callable[[OpenedSource, SqliteStore], Awaitable[T]]) -> T:
    async def run() -> T:
        async with source.opened() as opened, opened_store(opened.config) as store:
            return await work(opened, store)

    try:
        return asyncio.run(run())
    except SidecarError as error:
        click.echo(f"pronoia: {error}", err=True)
        raise SystemExit(1) from error


async def adapt_all(opened: OpenedSource, store: SqliteStore) -> list[Adapted]:
    """What becomes of every rule, with what may not be changed now left as it is."""
    from rules.adapt.history import Adapter
    from rules.adapt.limits import frozen

    config = opened.config.rules.adapt
    adapter = Adapter(opened.tester, config, knows_keep_firing=opened.knows_keep_firing)
    with progress("adapting", sum(rule.alerting for rule in opened.rules)) as advance:
        adapted = await adapter.all(opened.rules, opened.window, opened.incidents, on_done=advance)
    why_none = frozen(config, time.time())
    if why_none:
        raise RuleError(RuleReason.NOT_APPLICABLE, why_none)
    revisions = await store.revisions(limit=10_000)
    return [_held(one, revisions, opened) for one in adapted]


def _held(one: Adapted, revisions: list[RuleRevision], opened: OpenedSource) -> Adapted:
    from rules.adapt.limits import cooling
    from rules.adapt.plan import edited_since, last_change
    from rules.adapt.solve import Unchanged

    if not one.changed:
        return one
    changed = last_change(one.rule, revisions)
    why = edited_since(one.rule, revisions) or cooling(opened.config.rules.adapt, changed, time.time())
    return replace(one, outcome=Unchanged(why, one.outcome.before), written=one.rule) if why else one


async def _to_files(opened: OpenedSource, store: SqliteStore, plans: list[FilePlan], approver: str) -> int:
    from rules.adapt.files import AdaptedFiles
    from rules.adapt.plan import check_cost
    from rules.adapt.proof import unit_tests
    from rules.validate import run_tests

    rules = opened.config.rules
    files = AdaptedFiles(
        opened.client,
        store,
        promtool=rules.promtool,
        reload=rules.reload,
        verify_timeout_seconds=rules.verify_seconds,
    )
    failed = 0
    for one in plans:
        try:
            cost = await check_cost(one, opened.client, at_ms=opened.window.end_ms)
            tests = unit_tests(one.adapted, one.path.name)
            if tests is not None:
                promtool = rules.promtool
                cost["unit tests"] = await run_tests(
                    one.after, tests, rule_file=one.path.name, promtool=promtool
                )
            evidence = {**one.evidence(opened.window), **cost, "tests": tests}
            facts = (one.path, one.before, one.after, one.rewrites)
            if rules.adapt.canary:
                await files.shadow(*facts, evidence=evidence, approver=approver, seconds=rules.adapt.canary)
                click.echo(f"{one.path}: shadows of {len(one.adapted)} rules run for a while")
            else:
                await files.publish(*facts, evidence=evidence, approver=approver)
                click.echo(f"{one.path}: {len(one.adapted)} rules rewritten, loaded and healthy")
        except RuleError as error:
            failed += 1
            click.echo(f"pronoia: {one.path}: {error}; the file is as it was", err=True)
    return 1 if failed else 0


def _to_git(plans: list[FilePlan]) -> None:
    from rules.adapt.git import commit_branch

    branch = f"pronoia/adapt-{int(time.time())}"
    message = "\n".join(one.message() for one in plans)
    commit = commit_branch(plans[0].path.parent, branch, {one.path: one.after for one in plans}, message)
    click.echo(f"branch {branch}, commit {commit[:12]}")


def _show(adapted: list[Adapted], plans: list[FilePlan]) -> None:
    from rules.adapt.plan import argument

    for one in adapted:
        if one.changed:
            click.echo(f"{one.rule.name}: {'; '.join(one.changes)}")
            click.echo(f"    {argument(one)}")
    click.echo()
    print_table(
        ("left as it is", "why"), [(one.rule.name, one.why_not) for one in adapted if not one.changed]
    )
    click.echo()
    for each in plans:
        click.echo(each.diff())


def _as_json(adapted: list[Adapted], plans: list[FilePlan]) -> dict[str, Any]:
    from rules.adapt.plan import evidence_of

    return {
        "proposed": [evidence_of(one) for one in adapted if one.changed],
        "left": {one.rule.key: one.why_not for one in adapted if not one.changed},
        "diffs": {str(one.path): one.diff() for one in plans},
    }
