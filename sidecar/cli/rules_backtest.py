"""`pronoia rules backtest`: when rules would have fired, and what that would have been worth."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sidecar.cli.options import config_option, format_option
from sidecar.cli.rules_progress import progress
from sidecar.cli.rules_source import RuleSource, in_a_folder, rule_source_options
from sidecar.cli.rules_table import print_table
from sidecar.config.fields import format_duration
from sidecar.errors import SidecarError

if TYPE_CHECKING:
    from rules.backtest.past import RulePast
    from rules.incidents import KnownIncident
    from rules.read import WrittenRule


@click.command()
@rule_source_options
@click.option(
    "--against",
    multiple=True,
    type=click.Path(path_type=Path, exists=True),
    help="Rule files with the same alerts as they would be: both side by side.",
)
@click.option(
    "--plot",
    type=click.Path(path_type=Path),
    callback=in_a_folder,
    help="With --against: draw firings by day, PNG or SVG.",
)
@config_option
@format_option
def backtest(
    against: tuple[Path, ...], plot: Path | None, config_path: Path | None, output: str, **options: Any
) -> None:
    """Tell when rules would have fired over a window, `for` and `keep_firing_for` included.

    What was answered is kept in the data folder, so that a run that was broken off
    goes on where it stopped. A window that ends now is another question each time: name its end.

    \b
    Examples:
      pronoia rules backtest --rules new.yaml --start 30d --end 2026-11-20
      pronoia rules backtest --rules old.yaml --against new.yaml --incidents incidents.yaml

    Exit codes: 0 every rule could be asked, 1 one could not or it failed, 2 wrong use.
    """
    if plot is not None and not against:
        raise click.UsageError("--plot draws two rule sets: give --against as well")
    source = RuleSource.of(options, config_path)

    async def work() -> tuple[list[RulePast], list[RulePast], list[KnownIncident]]:
        from rules.read import read_files

        async with source.opened() as opened:
            others = await asyncio.to_thread(read_files, against)
            if not against:
                opened.with_alerts()
            elif not any(rule.alerting for rule in others):
                raise click.UsageError("the files of --against have no alerting rule")
            asked = [*opened.rules, *others]
            with progress("back-testing", sum(rule.alerting for rule in asked)) as advance:
                before = await opened.tester.all(opened.rules, opened.window, on_done=advance)
                after = await opened.tester.all(others, opened.window, on_done=advance)
            return before, after, opened.incidents

    try:
        before, after, incidents = asyncio.run(work())
        if plot is not None:
            _draw(plot, before, after, incidents)
    except SidecarError as error:
        click.echo(f"pronoia: {error}", err=True)
        raise SystemExit(1) from error
    if output == "json":
        told = [("old", past) for past in before] + [("new", past) for past in after]
        click.echo(json.dumps([{"set": name, **_as_json(past, incidents)} for name, past in told]))
    elif after:
        _show_both(before, after, incidents)
    else:
        print_table(HEAD, [_row(past, incidents) for past in before])
    raise SystemExit(1 if any(past.error for past in (*before, *after)) else 0)


def _draw(plot: Path, before: list[RulePast], after: list[RulePast], incidents: list[KnownIncident]) -> None:
    from rules.backtest.compare import compare
    from sidecar.cli.rules_plot import draw_days

    if not before:
        raise click.UsageError("--plot draws two rule sets, and the first has no alert")
    draw_days(plot, compare(before, after, incidents))


HEAD = ("rule", "series", "firings", "noise", "fired for", "incidents", "soonest", "cost", "")


def _row(past: RulePast, incidents: list[KnownIncident]) -> tuple[str, ...]:
    if past.error:
        return (past.rule.name, *[""] * (len(HEAD) - 2), past.error)
    delays = _delays(past, incidents)
    return (
        past.rule.name,
        str(len(past.labels)),
        str(len(past.firings)),
        str(_n_noise(past, incidents)),
        format_duration(past.firing_seconds),
        str(len(delays)),
        format_duration(min(delays.values())) if delays else "",
        f"{past.cost_seconds:.1f}s" if past.cost_seconds else "",
        "",
    )


def _n_noise(past: RulePast, incidents: list[KnownIncident]) -> int:
    """Firings in no known incident."""
    from rules.adapt.judge import noise, troubled_by

    return len(noise(past.firings, troubled_by(past.labels, incidents)))


def _show_both(before: list[RulePast], after: list[RulePast], incidents: list[KnownIncident]) -> None:
    """Each rule's row, below it that of its namesake where that is another; then what it comes to."""
    from rules.backtest.compare import compare

    new = {past.rule.name: past for past in after}
    rows = []
    for past in before:
        rows.append(_row(past, incidents))
        namesake = new.pop(past.rule.name, None)
        if namesake is not None and not _same(past.rule, namesake.rule):
            rows.append(("  → new", *_row(namesake, incidents)[1:]))
    rows.extend(_row(past, incidents) for past in new.values())
    print_table(HEAD, rows)
    if not before:
        return
    both = compare(before, after, incidents)
    caught = [row for row in both.incidents if row.before is not None]
    click.echo(
        f"\n{both.n_before} firings, {both.n_after} with the new rules ({-both.fall:+.1%}); "
        f"{len(caught) - len(both.lost)} of {len(caught)} incidents told of as soon as before"
    )


def _same(old: WrittenRule, new: WrittenRule) -> bool:
    from rules.verify import meaning

    return meaning(old) == meaning(new)


def _delays(past: RulePast, incidents: list[KnownIncident]) -> dict[str, float]:
    from rules.adapt.judge import caught

    found = {one.name: caught(past.firings, past.labels, one, past.rule.name) for one in incidents}
    return {name: delay for name, delay in found.items() if delay is not None}


def _as_json(past: RulePast, incidents: list[KnownIncident]) -> dict[str, Any]:
    return {
        "rule": past.rule.key,
        "error": past.error,
        "firings": [
            {"labels": dict(past.labels[one.row]), "start_ms": one.start_ms, "end_ms": one.end_ms}
            for one in past.firings
        ],
        "noise": _n_noise(past, incidents),
        "cost_seconds": past.cost_seconds,
        "delays_seconds": _delays(past, incidents),
    }
