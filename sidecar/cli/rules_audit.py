"""`pronoia rules audit`: what is wrong with the rules that are there, with evidence and a way out."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sidecar.cli.options import config_option, format_option
from sidecar.cli.rules_source import OpenedSource, RuleSource, rule_source_options
from sidecar.cli.rules_table import print_table
from sidecar.errors import PullError, RuleError, SidecarError

if TYPE_CHECKING:
    from rules.audit.finding import Finding
    from rules.backtest.past import RulePast
    from sidecar.series import SeriesBatch


@click.command()
@rule_source_options
@click.option("--example", is_flag=True, help="The forty rules of `pronoia rules replay --example`.")
@config_option
@format_option
def audit(example: bool, config_path: Path | None, output: str, **options: Any) -> None:
    """Say what is wrong with the alerting rules that are there.

    Each rule's text, its firings over the window, the series that it asks for, and what
    a running pronoia has seen flap or end by itself are looked at; every finding comes
    with its evidence and a proposed change.

    \b
    Examples:
      pronoia rules audit --prometheus http://localhost:9090 --start 28d
      pronoia rules audit --rules rules/ --format json

    Exit codes: 0 nothing was found, 1 something was or it failed, 2 wrong use.
    """
    from rules.audit.finding import ranked
    from sidecar.cli.rules_told import told_findings

    source = RuleSource.of(options, config_path, example=example)
    try:
        found, pasts = asyncio.run(_audit(source))
        if not example:
            names = frozenset(past.rule.name for past in pasts)
            found = ranked(found + told_findings(source.config, names))
    except SidecarError as error:
        click.echo(f"pronoia: {error}", err=True)
        raise SystemExit(1) from error
    if output == "json":
        click.echo(json.dumps([asdict(finding) for finding in found]))
    else:
        _show(found, pasts)
    raise SystemExit(1 if found else 0)


async def _audit(source: RuleSource) -> tuple[list[Finding], list[RulePast]]:
    from rules.audit.history import audit_past
    from rules.audit.source import audit_source
    from rules.audit.text import audit_text
    from sidecar.cli.rules_progress import progress

    async with source.opened() as opened:
        with progress("back-testing", sum(rule.alerting for rule in opened.rules)) as advance:
            pasts = await opened.tester.all(opened.rules, opened.window, on_done=advance)
        found = audit_text(opened.rules) + audit_past(pasts)
        found += await audit_source(opened.rules, opened.client, opened.window)
        return await _by_values(opened, found, pasts), pasts


async def _by_values(opened: OpenedSource, found: list[Finding], pasts: list[RulePast]) -> list[Finding]:
    """The findings, by what rules measure: thresholds far from anything seen, and ones that are outgrown."""
    from rules.adapt.buckets import last_bucket
    from rules.audit.finding import Kind
    from rules.audit.history import beyond_buckets, far_off, without_number

    constant = {finding.rule: n for n, finding in enumerate(found) if finding.kind is Kind.CONSTANT}
    found = list(found)
    for past in pasts:
        nth = constant.get(past.rule.key)
        if past.error or (past.firings and nth is None):
            continue
        batch = await _measured(opened, past)
        if batch is None:
            continue
        if nth is not None:
            found[nth] = await asyncio.to_thread(without_number, past, found[nth], batch)
            continue
        bucket = await last_bucket(past.rule.expr, opened.tester, opened.window)
        finding = beyond_buckets(past, bucket) or await asyncio.to_thread(far_off, past, batch.values)
        if finding is not None:
            found.append(finding)
    return found


async def _measured(opened: OpenedSource, past: RulePast) -> SeriesBatch | None:
    """What a rule compares with its threshold; None where it cannot be taken apart, or is too wide to ask."""
    from rules.adapt.history import measured_by

    measured = measured_by(past.rule)
    if measured is None:
        return None
    try:
        return await opened.tester.values(measured, past.rule.name, opened.window)
    except (PullError, RuleError):
        return None  # The rule itself could be asked; its measured side alone is too wide.


def _show(found: list[Finding], pasts: list[RulePast]) -> None:
    for finding in found:
        click.echo(f"{finding.kind.value}: {finding.rule}")
        click.echo(f"    {finding.evidence}")
        click.echo(f"    → {finding.proposal}")
    counts = Counter(finding.kind.value for finding in found)
    click.echo()
    print_table(("finding", "rules"), [(kind, str(n)) for kind, n in counts.most_common()])
    firings = sum(len(past.firings) for past in pasts)
    click.echo(f"\n{len(pasts)} alerting rules, {firings} firings, {len(found)} findings")
