"""`pronoia rules replay`: adapt rules on the first part of a history, and see how they do on the rest."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sidecar.cli.left_alone import in_thread
from sidecar.cli.options import config_option, format_option
from sidecar.cli.rules_source import RuleSource, in_a_folder, rule_source_options
from sidecar.cli.rules_table import print_table
from sidecar.config.fields import format_duration
from sidecar.errors import SidecarError

if TYPE_CHECKING:
    from rules.adapt.history import Adapted
    from rules.backtest.compare import Comparison, IncidentRow
    from rules.backtest.past import BackTester, Window
    from rules.incidents import KnownIncident


@dataclass(frozen=True)
class Replayed:
    """What adaptation proposed, and both rule sets on what came after."""

    adapted: list[Adapted]
    comparison: Comparison


@click.command()
@rule_source_options
@click.option(
    "--learn", default=0.5, show_default=True, type=click.FloatRange(0.1, 0.9), help="Share to adapt on."
)
@click.option(
    "--example",
    is_flag=True,
    help="Forty rules, half of them badly set, on eight weeks of a simulated platform.",
)
@click.option(
    "--plot",
    type=click.Path(path_type=Path),
    callback=in_a_folder,
    help="Draw firings by day: a PNG or SVG file.",
)
@config_option
@format_option
def replay(
    learn: float,
    example: bool,
    plot: Path | None,
    config_path: Path | None,
    output: str,
    **options: Any,
) -> None:
    """Adapt rules on the first part of a history, then run old and new over the rest.

    Nothing is written. The table tells, rule by rule, how often it fired before and
    after, and for each known incident which alert told of it first and how soon.

    \b
    Examples:
      pronoia rules replay --example
      pronoia rules replay --rules rules/ --incidents incidents.yaml --start 56d

    Exit codes: 0 every incident is still caught in time, 1 one is lost or it failed, 2 wrong use.
    """
    source = RuleSource.of(options, config_path, example=example)
    try:
        done = asyncio.run(_replay(source, learn))
        if output == "json":
            click.echo(json.dumps(_as_json(done)))
        else:
            _show(done)
        if plot is not None:
            from sidecar.cli.rules_plot import draw_days

            draw_days(plot, done.comparison)
    except SidecarError as error:
        click.echo(f"pronoia: {error}", err=True)
        raise SystemExit(1) from error
    raise SystemExit(1 if done.comparison.lost else 0)


async def _replay(source: RuleSource, learn: float) -> Replayed:
    from rules.adapt.history import Adapter
    from rules.backtest.past import Window

    async with AsyncExitStack() as stack:
        opened = (await stack.enter_async_context(source.opened())).with_alerts()
        whole = opened.window
        middle = whole.start_ms + round((whole.end_ms - whole.start_ms) * learn)
        middle = middle // whole.step_ms * whole.step_ms
        adapter = Adapter(
            opened.tester,
            opened.config.rules.adapt,
            knows_keep_firing=opened.knows_keep_firing,
            run=in_thread,
        )
        adapted = await adapter.all(
            opened.rules, Window(whole.start_ms, middle, whole.step_ms), opened.incidents
        )
        later = Window(middle, whole.end_ms, whole.step_ms)
        return Replayed(adapted, await replayed(opened.tester, adapted, later, opened.incidents))


async def replayed(
    tester: BackTester, adapted: list[Adapted], window: Window, incidents: list[KnownIncident]
) -> Comparison:
    """Old and new rules over a window, asked of the source itself."""
    from rules.backtest.compare import compare

    before = await tester.all([one.rule for one in adapted], window)
    rewritten = iter(await tester.all([one.written for one in adapted if one.written != one.rule], window))
    after = [
        past if one.written == one.rule else next(rewritten)
        for one, past in zip(adapted, before, strict=True)
    ]
    return compare(before, after, incidents)


def _show(done: Replayed) -> None:
    comparison = done.comparison
    rows = []
    for adapted, before, after in zip(done.adapted, comparison.before, comparison.after, strict=True):
        what = "; ".join(adapted.changes) or f"– {adapted.why_not}"
        rows.append((adapted.rule.name, str(len(before.firings)), str(len(after.firings)), what))
    print_table(("rule", "before", "after", "change"), rows)
    click.echo()
    incidents = [
        (
            row.incident.name,
            *_caught(row.before),
            *_caught(row.after),
            _fate(row, comparison),
        )
        for row in comparison.incidents
    ]
    print_table(("incident", "before by", "after", "now by", "after", ""), incidents)
    click.echo(
        f"\n{comparison.n_before} firings before, {comparison.n_after} after: {comparison.fall:.1%} fewer; "
        f"{len(comparison.incidents) - len(comparison.lost)} of {len(comparison.incidents)} incidents kept"
    )


def _fate(row: IncidentRow, comparison: Comparison) -> str:
    """Whether it is lost, and how likely the old rules' noise alone would have told of it so soon."""
    if row.before is None or row.kept(comparison.interval_seconds):
        return ""
    by_noise = comparison.by_noise(row.before.delay_seconds)
    return f"LOST (an old false alarm falls so early into {by_noise:.0%} of incidents, by chance)"


def _caught(catch: Any) -> tuple[str, str]:
    return (catch.alert, format_duration(catch.delay_seconds)) if catch else ("nobody", "")


def _as_json(done: Replayed) -> dict[str, Any]:
    comparison = done.comparison
    return {
        "firings_before": comparison.n_before,
        "firings_after": comparison.n_after,
        "fall": comparison.fall,
        "rules": [
            {
                "rule": adapted.rule.name,
                "before": len(before.firings),
                "after": len(after.firings),
                "changes": list(adapted.changes),
                "why_not": adapted.why_not,
                "expr": adapted.written.expr,
            }
            for adapted, before, after in zip(done.adapted, comparison.before, comparison.after, strict=True)
        ],
        "incidents": [
            {
                "incident": row.incident.name,
                "before_seconds": row.before.delay_seconds if row.before else None,
                "after_seconds": row.after.delay_seconds if row.after else None,
                "kept": row.kept(comparison.interval_seconds),
                "by_noise": comparison.by_noise(row.before.delay_seconds) if row.before else None,
            }
            for row in comparison.incidents
        ],
    }
