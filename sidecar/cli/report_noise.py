"""`pronoia report noise`: what rang for nothing."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sidecar.cli.options import config_option, data_option, read_config
from sidecar.config.fields import format_duration, parse_duration

if TYPE_CHECKING:
    from webhooks.respond.past import AlertPast


@click.command()
@config_option
@data_option
@click.option("--as", "form", type=click.Choice(["markdown", "html"]), default="markdown", show_default=True)
@click.option("--team", help="Only incidents of this team.  [default: all]")
@click.option("--last", default="7d", show_default=True, help="How far back.")
@click.option(
    "--rules",
    "rule_places",
    multiple=True,
    type=click.Path(exists=True, path_type=Path),
    help="Rule file, or folder of them: print a patch of these that makes the proposed `for` longer.",
)
def noise(
    config_path: Path | None,
    data_directory: Path | None,
    form: str,
    team: str | None,
    last: str,
    rule_places: tuple[Path, ...],
) -> None:
    """Noise report: noisiest rules, repeats, what ended by itself, what belongs together, what would help.

    \b
    Examples:
      pronoia report noise --team shop --last 7d
      pronoia report noise --last 30d --rules /etc/prometheus/rules | patch -p0
    """
    from webhooks.respond.noise_report import noise_report
    from webhooks.respond.routing_proposals import as_yaml, proposals

    seconds = duration_of(last)
    past = past_of(config_path, data_directory, team=team, seconds=seconds)
    if rule_places:
        click.echo(_patch(past, rule_places), nl=False)
        return
    found = noise_report(
        f"Noise of {team or 'all teams'}, last {format_duration(seconds)}",
        past.incidents,
        past.episodes,
        past.responses,
        past.feedback,
        n_messages=past.n_messages,
        ready=as_yaml(proposals(past.incidents, past.episodes, past.responses, past.feedback)),
    )
    click.echo(found.page() if form == "html" else found.markdown(), nl=False)


def duration_of(last: str) -> float:
    """Seconds of `--last`; wrong use otherwise."""
    try:
        return parse_duration(last)
    except ValueError as error:
        raise click.UsageError(f"--last: {error}") from error


def past_of(
    config_path: Path | None, data_directory: Path | None, *, team: str | None, seconds: float
) -> AlertPast:
    """What the store holds of the last so many seconds."""
    from sidecar.cli.stored import with_store
    from webhooks.respond.past import AlertPast

    overrides = {"store": {"directory": data_directory}} if data_directory else None
    config = read_config(config_path, overrides)
    since_ns = int((time.time() - seconds) * 1e9)
    return with_store(config, lambda store: AlertPast.read(store, since_ns=since_ns, team=team))


def _patch(past: AlertPast, places: tuple[Path, ...]) -> str:
    from sidecar.cli.rule_patch import patch_of
    from sidecar.errors import RuleError
    from webhooks.respond.noise_report import by_rule
    from webhooks.respond.noise_week import changes_of

    changes = changes_of(by_rule(past.episodes, past.responses, past.feedback))
    try:
        return patch_of(changes, places)
    except (RuleError, ValueError) as error:
        raise click.UsageError(f"--rules: {error}") from error
