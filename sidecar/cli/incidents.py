"""`pronoia incidents`: what there was, why, and what another configuration would have made of it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from sidecar.cli.incident_actions import commands
from sidecar.cli.options import config_option, data_option, format_option, read_config
from sidecar.config.fields import format_duration, parse_duration

if TYPE_CHECKING:
    from sidecar.config.model import Config
    from sidecar.records import Episode, Incident, Response
    from sidecar.store.protocol import Store
    from webhooks.replay import Change, Comparison, Run

MAX_EPISODES = 200_000
SHOWN_CHANGES = 15


class Incidents(click.Group):
    """Knows what other tools call its commands."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that is named; a hint where there is none of that name, and what is meant is known."""
        from webhooks.respond.lifecycle import HINTS

        if args[0] in HINTS and args[0] not in self.commands:
            ctx.fail(f"No such command {args[0]!r}: {HINTS[args[0]]}.")
        return super().resolve_command(ctx, args)


@click.group(cls=Incidents)
def incidents() -> None:
    """Incidents: list them, show one, ask why an alert is in it, act on it, try another configuration."""


for action in commands():
    incidents.add_command(action)


@incidents.command("list")
@config_option
@data_option
@format_option
@click.option("--state", type=click.Choice(["open", "resolved"]), help="Only these.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True)
def list_incidents(
    config_path: Path | None, data_directory: Path | None, output: str, state: str | None, limit: int
) -> None:
    """Incidents, newest first.

    \b
    Example:
      pronoia incidents list --state open
    """
    from sidecar.cli.stored import with_store

    config = _config(config_path, data_directory)
    found, responses = with_store(config, lambda store: _with_responses(store, limit, state))
    if output == "json":
        _print_json(found)
        return
    for one in found:
        status, by = _standing(one, responses.get(one.incident_id))
        click.echo(
            f"{one.incident_id}  {one.priority}  {status:<12}  {_moment(one.started_at_ns)}  "
            f"{one.n_firing:>5} of {one.n_episodes:<5} fire  {one.title}{by}"
        )
    if not found:
        click.echo("no incidents")


@incidents.command()
@config_option
@data_option
@format_option
@click.argument("incident_id")
def show(config_path: Path | None, data_directory: Path | None, output: str, incident_id: str) -> None:
    """One incident: its causes, its priority, its alerts, each with its reasons.

    \b
    Example:
      pronoia incidents show inc-bf413ca28144

    Exit codes: 0 fine, 1 there is none of that id, 2 wrong use.
    """
    from sidecar.cli.stored import with_store

    config = _config(config_path, data_directory)
    incident, episodes = _one(config, incident_id)
    response = with_store(config, lambda store: store.response_store.response(incident_id))
    if output == "json":
        _print_json({**msgspec.to_builtins(incident), "episodes": episodes, "response": response})
        return
    ended = _moment(incident.ended_at_ns) if incident.ended_at_ns else "open"
    click.echo(f"{incident.incident_id}  {incident.title}")
    status, by = _standing(incident, response)
    click.echo(f"{status}, {_moment(incident.started_at_ns)} to {ended}{by}")
    if incident.merged_into:
        click.echo(f"went into {incident.merged_into}: follow that one")
    if response is not None and response.open_again and incident.state == "open":
        click.echo(f"taken on by nobody: {response.open_again}")
    if incident.split_from:
        click.echo(f"came out of {incident.split_from}: {incident.split_reason}")
    click.echo(f"priority {incident.priority} ({incident.category}): {'; '.join(incident.priority_reasons)}")
    click.echo(f"noise {incident.noise:.0%}: {'; '.join(incident.noise_reasons)}")
    for at, cause in enumerate(incident.causes[:5], 1):
        click.echo(f"cause {at}: {cause.service} ({cause.score:.2f}): {'; '.join(cause.reasons)}")
    for episode in episodes:
        bond = f"{episode.bonds['all']:.2f}" if episode.bonds else "first"
        name = episode.labels.get("alertname", "")
        click.echo(
            f"  {_moment(episode.starts_at_ns)}  {episode.state:<8}  {bond:>5}  {name} {_labels(episode)}"
        )


@incidents.command()
@config_option
@data_option
@format_option
@click.argument("incident_id")
@click.argument("alert")
def why(
    config_path: Path | None, data_directory: Path | None, output: str, incident_id: str, alert: str
) -> None:
    """Why ALERT (a fingerprint or a name) is in the incident, and what would have kept it out.

    \b
    Example:
      pronoia incidents why inc-bf413ca28144 CdnErrorsHigh

    Exit codes: 0 fine, 1 there is no such incident or alert, 2 wrong use.
    """
    from webhooks.correlate.why import answers

    incident, episodes = _one(_config(config_path, data_directory), incident_id)
    if incident.merged_into:
        click.echo(f"pronoia: {incident_id} went into {incident.merged_into}; ask why of that one", err=True)
        raise SystemExit(1)
    told = list(answers(incident, episodes, alert))
    if not told:
        click.echo(f"pronoia: {incident_id} has no alert {alert}; see pronoia incidents show", err=True)
        raise SystemExit(1)
    if output == "json":
        _print_json(told)
        return
    for one in told[:SHOWN_CHANGES]:
        click.echo("\n".join(one["words"]))


@incidents.command()
@config_option
@data_option
@format_option
@click.option(
    "--with",
    "changed_path",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="The changed configuration file.",
)
@click.option(
    "--topology", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="Another graph."
)
@click.option("--identity-label", "identity", multiple=True, help="As webhook.identity_labels.")
@click.option("--hold", metavar="DURATION", help="As webhook.incident_hold.")
@click.option("--gap", metavar="DURATION", help="As webhook.incident_gap.")
@click.option("--since", metavar="DURATION", default="7d", show_default=True, help="How much of the past.")
def simulate(
    config_path: Path | None,
    data_directory: Path | None,
    output: str,
    changed_path: Path | None,
    topology: Path | None,
    identity: tuple[str, ...],
    hold: str | None,
    gap: str | None,
    since: str,
) -> None:
    """Replay stored alerts by a changed configuration, and compare with the one at hand.

    It tells which incidents would merge and split, how many alerts an incident would
    hold, and what that costs: purity is the share of alerts that would be with those
    they are with now, and "time alone" the share that no relation binds.

    \b
    Examples:
      pronoia incidents simulate --hold 2m --since 14d
      pronoia incidents simulate --with tried.yaml
    """
    from webhooks.replay import compare, replay, ways_of

    config = _config(config_path, data_directory)
    changed = read_config(changed_path, None).webhook if changed_path else config.webhook
    settings: dict[str, Any] = {"topology_file": topology, "identity_labels": identity or None}
    try:
        settings["incident_hold"] = None if hold is None else parse_duration(hold)
        settings["incident_gap"] = None if gap is None else parse_duration(gap)
        past = parse_duration(since)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error
    changed = changed.model_copy(
        update={name: value for name, value in settings.items() if value is not None}
    )
    episodes = _episodes(config, past)
    before, after = replay(episodes, **ways_of(config.webhook)), replay(episodes, **ways_of(changed))
    comparison = compare(before, after)
    if output == "json":
        _print_json(_document(before, after, comparison))
    else:
        _print_comparison(before, after, comparison, past)


async def _with_responses(
    store: Store, limit: int, state: str | None
) -> tuple[list[Incident], dict[str, Response]]:
    """The newest incidents, and what people did about those that are open."""
    responses = await store.response_store.responses(open_only=True)
    return await store.incidents(limit=limit, state=state), {one.incident_id: one for one in responses}


def _standing(incident: Incident, response: Response | None) -> tuple[str, str]:
    """How far people have taken an incident, and who has it, in words."""
    from webhooks.respond.lifecycle import status_of, taken_by

    by = taken_by(incident, response)
    return status_of(incident, response), f"  ({by} has it)" if by else ""


def _episodes(config: Config, past_seconds: float) -> list[Episode]:
    import time

    from sidecar.cli.stored import with_store

    since_ns = int((time.time() - past_seconds) * 1e9)
    return with_store(config, lambda store: store.episodes_heard(since_ns, limit=MAX_EPISODES))


def _document(before: Run, after: Run, comparison: Comparison) -> dict[str, Any]:
    def of(run: Run) -> dict[str, Any]:
        return {
            "n_alerts": len(run.incident_of),
            "n_incidents": run.n_incidents,
            "alerts_per_incident": run.alerts_per_incident,
            "coincident_ratio": run.coincident_ratio,
        }

    return {"before": of(before), "after": of(after), **msgspec.to_builtins(comparison)}


def _print_comparison(before: Run, after: Run, comparison: Comparison, past: float) -> None:
    click.echo(f"{len(before.incident_of)} alerts of the last {format_duration(past)}")
    click.echo(f"{'':<22}{'now':>10}{'changed':>10}")
    for words, one, other in (
        ("incidents", f"{before.n_incidents}", f"{after.n_incidents}"),
        ("alerts an incident", f"{before.alerts_per_incident:.2f}", f"{after.alerts_per_incident:.2f}"),
        ("bound by time alone", f"{before.coincident_ratio:.0%}", f"{after.coincident_ratio:.0%}"),
    ):
        click.echo(f"{words:<22}{one:>10}{other:>10}")
    click.echo(
        f"purity {comparison.purity:.3f} (1: nothing new is mixed in), "
        f"completeness {comparison.completeness:.3f} (1: nothing is torn apart)"
    )
    _print_changes("merges", comparison.merges)
    _print_changes("splits", comparison.splits)


def _print_changes(words: str, changes: Sequence[Change]) -> None:
    click.echo(f"{len(changes)} {words}" + (":" if changes else ""))
    for change in changes[:SHOWN_CHANGES]:
        parts = ", ".join(f"{name} ({n})" for name, n in change.others[:6])
        click.echo(f"  {change.one}: {parts}" + (" …" if len(change.others) > 6 else ""))


def _one(config: Config, incident_id: str) -> tuple[Incident, list[Episode]]:
    from sidecar.cli.stored import with_store

    found = with_store(config, lambda store: store.incident(incident_id))
    if found is None:
        click.echo(f"pronoia: no incident {incident_id}; see pronoia incidents list", err=True)
        raise SystemExit(1)
    return found


def _config(config_path: Path | None, data_directory: Path | None) -> Config:
    return read_config(config_path, {"store": {"directory": data_directory}} if data_directory else {})


def _print_json(data: object) -> None:
    click.echo(msgspec.json.encode(data).decode())


def _moment(time_ns: int) -> str:
    return datetime.fromtimestamp(time_ns / 1e9, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def _labels(episode: Episode) -> str:
    rest = {name: value for name, value in episode.labels.items() if name not in ("alertname", "severity")}
    return " ".join(f"{name}={value}" for name, value in sorted(rest.items()))[:120]
