"""`pronoia rules log|show|diff|rollback`: what was written when, why, and taking it back."""

from __future__ import annotations

import difflib
import json
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
import msgspec

from sidecar.cli.options import config_option, data_option, format_option, read_config
from sidecar.cli.rules_adapted import adapted_rules
from sidecar.cli.stored import with_store
from sidecar.config.model import Config
from sidecar.errors import RuleError, RuleReason

if TYPE_CHECKING:
    from rules.adapt.adapted import AdaptedRules
    from rules.loop import RulesLoop
    from sidecar.prometheus.client import PrometheusClient
    from sidecar.records import RuleRevision
    from sidecar.store.protocol import Store

F = TypeVar("F", bound=Callable[..., Any])

STATES = ("proposed", "begun", "undone", "canary", "live", "superseded", "rolled_back", "rejected")
"""What a revision may be: waiting, on its way or interrupted there, a shadow, in place, or over."""

SHOWN = 1_000
"""Revisions that a log tells of, the newest."""


def server_options(command: F) -> F:
    """`--prometheus URL --rules-dir DIR`."""
    for option in (
        click.option(
            "--rules-dir",
            "rules_directory",
            type=click.Path(path_type=Path, file_okay=False),
            help="Folder of the rules that pronoia generates.  [default: rules.directory]",
        ),
        click.option(
            "--prometheus", "prometheus_url", metavar="URL", help="Prometheus that loads the rules."
        ),
    ):
        command = option(command)
    return command


def stated_config(
    config_path: Path | None,
    data_directory: Path | None,
    prometheus_url: str | None = None,
    rules_directory: Path | None = None,
) -> Config:
    """The configuration file with what the options say."""
    overrides: dict[str, dict[str, object]] = {}
    for section, key, value in (
        ("store", "directory", data_directory),
        ("prometheus", "url", prometheus_url),
        ("rules", "directory", rules_directory),
    ):
        if value is not None:
            overrides.setdefault(section, {})[key] = value
    return read_config(config_path, overrides)


@click.command()
@config_option
@data_option
@format_option
@click.option("--group", help="Only this group, or file:PATH.")
@click.option("--state", type=click.Choice(STATES), help="Only those.")
def log(
    config_path: Path | None, data_directory: Path | None, output: str, group: str | None, state: str | None
) -> None:
    """Revisions of generated and rewritten rule files, newest first.

    \b
    Examples:
      pronoia rules log --state proposed
      pronoia rules list --state live
    """
    config = stated_config(config_path, data_directory)
    found = with_store(config, lambda store: store.revisions(group=group, state=state, limit=SHOWN + 1))
    if len(found) > SHOWN:
        click.echo(f"the newest {SHOWN:,}; there are older ones: ask for a --group or a --state", err=True)
        found = found[:SHOWN]
    if output == "json":
        click.echo(json.dumps(msgspec.to_builtins(found)))
        return
    if not found and (group or state):
        click.echo(f"no revision{f' of {group}' if group else ''}{f' is {state}' if state else ''}")
    elif not found:
        click.echo(
            "no rule was generated or rewritten yet; rules.directory or rules.publish must be set, "
            "and history be long enough"
        )
    width = max((len(revision.group) for revision in found), default=0)
    for revision in found:
        approver = revision.evidence.get("approver")
        why = (_rewritten(revision), f"by {approver}" if approver else "", revision.reason)
        line = f"{_when(revision.created_at_ns)}  {revision.state:<11} {revision.group:<{width}}  "
        click.echo("  ".join((line + revision.content_hash, *filter(None, why))))


def _rewritten(revision: RuleRevision) -> str:
    """The first alerts that it rewrote; nothing of a group that is generated whole."""
    told = revision.evidence.get("rules")
    names = [str(one["name"]) for one in told] if isinstance(told, list) else []
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


@click.command()
@config_option
@data_option
@format_option
@click.argument("revision")
def show(config_path: Path | None, data_directory: Path | None, output: str, revision: str) -> None:
    """One REVISION (its hash, or the beginning of it): text, evidence, checks, who approved it.

    \b
    Example:
      pronoia rules show 3f9c2ab1
    """
    config = stated_config(config_path, data_directory)
    found = with_store(config, lambda store: found_revision(store, revision))
    if output == "json":
        click.echo(json.dumps(msgspec.to_builtins(found)))
        return
    click.echo(f"{found.group}  {found.content_hash}  {found.state} {_ran(found)}  {found.reason}".rstrip())
    tested = found.evidence.get("unit tests")
    for name, words in {**found.checks, **({"unit tests": tested} if tested else {})}.items():
        click.echo(f"{name}: {words}")
    told = found.evidence.get("rules")
    for one in told if isinstance(told, list) else []:
        click.echo(f"{one['name']}: {'; '.join(one['changes'])}\n    {one['argument']}")
    untested = found.evidence.get("no unit test")
    for name, why in untested.items() if isinstance(untested, dict) else ():
        click.echo(f"no unit test of {name}: {why}")
    click.echo(f"\n{found.content}")
    if found.evidence.get("tests"):
        click.echo(f"{found.evidence['tests']}")


@click.command()
@config_option
@data_option
@click.argument("revision")
def diff(config_path: Path | None, data_directory: Path | None, revision: str) -> None:
    """What REVISION changed, as a unified diff against the one that it replaced.

    \b
    Example:
      pronoia rules diff 3f9c2ab1
    """

    async def work(store: Store) -> tuple[str, str]:
        found = await found_revision(store, revision)
        if "before" in found.evidence:
            return str(found.evidence["before"]), found.content
        history = await store.revisions(group=found.group, limit=1000)
        before = next((one for one in history if one.revision_id == found.replaces), None)
        return before.content if before else "", found.content

    before, after = with_store(stated_config(config_path, data_directory), work)
    lines = difflib.unified_diff(
        before.splitlines(keepends=True), after.splitlines(keepends=True), "before", revision
    )
    click.echo("".join(lines), nl=False)


@click.command()
@config_option
@data_option
@server_options
@click.argument("group")
def rollback(
    config_path: Path | None,
    data_directory: Path | None,
    prometheus_url: str | None,
    rules_directory: Path | None,
    group: str,
) -> None:
    """Take back the last step of GROUP (file:PATH, threshold:RULE): a shadow, else what is live.

    The revision that was taken back is not published again by itself; `pronoia rules republish` does.

    \b
    Examples:
      pronoia rules rollback pronoia-cdn_error_ratio
      pronoia rules rollback file:/etc/prometheus/rules/app.yaml
    """
    from rules.adapt.place import THRESHOLD, is_adapted
    from rules.adapt.threshold_series import ThresholdSeries

    config = stated_config(config_path, data_directory, prometheus_url, rules_directory)

    async def work(store: Store) -> str:
        if not await store.revisions(group=group, limit=1):
            known = dict.fromkeys(one.group for one in await store.revisions(limit=10_000))
            near = next((one for one in known if group in one), None)
            hint = f"did you mean {near}?" if near else "see pronoia rules log"
            raise RuleError(RuleReason.NOT_LOADED, f"{group}: pronoia wrote no such group; {hint}")
        async with rule_servers(config, store) as (loop, adapted, _):
            if group.startswith(THRESHOLD):
                back = await ThresholdSeries(store).take_back(group, "rolled back by hand")
                return f"{back.content} holds again" if back else "the rule's own number holds"
            if is_adapted(group):
                await adapted.undo(group, "rolled back by hand")
                live = await adapted.live(group)
                return f"revision {live.content_hash} is live" if live else "the rules are as they were"
            steps = [one for one in await store.revisions(group=group) if one.state in ("canary", "live")]
            before = await needed_loop(loop).rollback(group)
            left = f"revision {before.content_hash} is back" if before else "its file is removed"
            if before is not None and steps[0].state == "canary":
                left = f"revision {before.content_hash} is live as before"
            return f"{left}; should it not have been: pronoia rules republish {steps[0].content_hash}"

    click.echo(f"{group}: taken back; {with_store(config, work)}")


@asynccontextmanager
async def rule_servers(
    config: Config, store: Store
) -> AsyncIterator[tuple[RulesLoop | None, AdaptedRules, PrometheusClient]]:
    """The parts that change rules, as in the running sidecar but not started."""
    from prometheus_client import CollectorRegistry

    from rules.loop import RulesLoop
    from rules.metrics import RuleMetrics
    from sidecar.events import EventBus
    from sidecar.prometheus.client import PrometheusClient
    from sidecar.prometheus.session import PullMetrics
    from sidecar.series import LearnedBand

    async def no_bands(_: Collection[str]) -> list[LearnedBand]:
        return []

    registry = CollectorRegistry()
    async with PrometheusClient(config.prometheus, metrics=PullMetrics(registry)) as client:
        loop = None
        if config.rules.enabled:
            loop = RulesLoop(
                config.rules,
                queries=lambda: config.queries,
                bands=no_bands,
                server=client,
                store=store,
                bus=EventBus(),
                metrics=RuleMetrics(registry),
            )
        yield loop, adapted_rules(config, client, store), client


def needed_loop(loop: RulesLoop | None) -> RulesLoop:
    """The loop of generated rules. Raises: RuleError where the configuration has no place for them."""
    if loop is None:
        raise RuleError(
            RuleReason.NOT_APPLICABLE, "neither rules.directory nor rules.publish is set; give --rules-dir"
        )
    return loop


async def found_revision(store: Store, beginning: str) -> RuleRevision:
    """The newest revision of the text whose hash begins so. Raises: RuleError, StoreError."""
    found = [one for one in await store.revisions(limit=10_000) if one.content_hash.startswith(beginning)]
    if not found:
        raise RuleError(RuleReason.NOT_LOADED, f"no revision begins with {beginning}; see pronoia rules log")
    hashes = list(dict.fromkeys(one.content_hash for one in found))
    if len(hashes) > 1:
        few = ", ".join(hashes[:3]) + (" and others" if len(hashes) > 3 else "")
        raise RuleError(
            RuleReason.NOT_APPLICABLE, f"{beginning!r} begins {few}; write more of the one that you mean"
        )
    return found[0]


def _ran(revision: RuleRevision) -> str:
    """When Prometheus had it, in words."""
    if revision.live_from_ns is None:
        return "(never loaded)"
    how = "as a shadow " if "canary_seconds" in revision.evidence else ""
    until = f" until {_when(revision.live_until_ns)}" if revision.live_until_ns else ""
    return f"({how}from {_when(revision.live_from_ns)}{until})"


def _when(at_ns: int) -> str:
    return datetime.fromtimestamp(at_ns / 1e9, UTC).isoformat(" ", "seconds")
