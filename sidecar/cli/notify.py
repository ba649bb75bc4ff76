"""`pronoia notify`: see what would be told, and what Alertmanager needs to know of it."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sidecar.cli.options import config_option, data_option, format_option, read_config

if TYPE_CHECKING:
    from sidecar.config.channels import NotifyTarget
    from sidecar.config.model import Config
    from sidecar.records import Episode, Incident


@click.group()
def notify() -> None:
    """Messages: preview a template, send a test, print rules for Alertmanager."""


@notify.command()
@config_option
@data_option
@format_option
@click.option("--target", required=True, help="Name of a configured target.")
@click.option("--incident", "incident_id", help="A stored incident.  [default: an invented one]")
@click.option(
    "--kind",
    type=click.Choice(["opened", "updated", "acknowledged", "mitigated", "resolved", "merged"]),
    default="opened",
    show_default=True,
)
def preview(
    config_path: Path | None,
    data_directory: Path | None,
    output: str,
    target: str,
    incident_id: str | None,
    kind: str,
) -> None:
    """Print a message as a target would get it, with what tables know; nothing is sent or asked for.

    \b
    Examples:
      pronoia notify preview --target ops-slack --kind resolved --config pronoia.yaml
      pronoia notify preview --target ops-slack --incident inc-bf413ca28144 --config pronoia.yaml

    Exit codes: 0 fine, 1 the template cannot be used (the plain text would be sent), 2 wrong use.
    """
    overrides = {"store": {"directory": data_directory}} if data_directory else None
    config = read_config(config_path, overrides)
    found = _target(config, target)
    if incident_id is None:
        incident = _invented()
    else:
        from sidecar.cli.stored import with_store

        stored = with_store(config, lambda store: store.incident(incident_id))
        if stored is None:
            raise click.UsageError(f"no incident {incident_id}; see pronoia incidents list")
        incident = stored[0]
    made = _message(config, found, kind, incident)
    links = "".join(f"\n{name}: {url}" for name, url in made["links"].items())
    click.echo(json.dumps(made) if output == "json" else f"{made['title']}\n\n{made['text']}{links}")


@notify.command("test")
@config_option
@click.option("--target", required=True, help="Name of a configured target.")
@click.option("--wait", default="5s", show_default=True, help="How long the test incident is open.")
def send_test(config_path: Path | None, target: str, wait: str) -> None:
    """Tell a target of a test incident, and then that it is over: whoever is called there is called.

    Template and secrets are those of the configuration; a running pronoia knows nothing of it. A try
    that fails is not repeated, as one of a real message would be.

    \b
    Examples:
      pronoia notify test --target ops-slack --config pronoia.yaml
      pronoia notify test --target ops-pager --wait 1m --config pronoia.yaml

    Exit codes: 0 both were taken, 1 not, 2 wrong use.
    """
    import asyncio

    from sidecar.config.fields import parse_duration
    from sidecar.errors import NotifyError

    config = read_config(config_path)
    found = _target(config, target)
    try:
        open_seconds = parse_duration(wait)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--wait") from error
    try:
        asyncio.run(_tell(config, found, open_seconds))
    except NotifyError as error:
        click.echo(f"pronoia: {target}: {error}", err=True)
        raise SystemExit(1) from error


async def _tell(config: Config, target: NotifyTarget, open_seconds: float) -> None:
    """Send the beginning and the end of an incident that never was. Raises: NotifyError."""
    import asyncio

    from msgspec.structs import replace

    from sidecar.records import DEFAULT_TENANT, Incident
    from webhooks.notify.channel import Outgoing
    from webhooks.notify.channels.registry import channel_of

    now_ns = time.time_ns()
    incident = Incident(
        f"inc-test-{now_ns // 10**9:x}",
        DEFAULT_TENANT,
        "test of pronoia, nothing is wrong",
        now_ns,
        now_ns,
        n_episodes=1,
        n_firing=1,
        category="test",
    )
    message = _message(config, target, "opened", incident)
    channel = channel_of(target)
    opening = asyncio.ensure_future(channel.send(Outgoing(message, made_at=time.time())))
    try:
        try:
            # Shielded: a Ctrl-C amid it would not tell whether the target has it.
            await asyncio.shield(opening)
            click.echo(f"{target.name}: the test incident is told as {message['title']!r}")
            await asyncio.sleep(open_seconds)
        finally:  # Also where a Ctrl-C ends the wait: somebody was called.
            receipt = await opening
            over = replace(incident, state="resolved", ended_at_ns=time.time_ns(), n_firing=0)
            message = _message(config, target, "resolved", over)
            await channel.send(Outgoing(message, thread=receipt, made_at=time.time()))
            click.echo(f"{target.name}: and its end as {message['title']!r}")
    finally:
        await channel.close()


def _target(config: Config, name: str) -> NotifyTarget:
    """The configured target of that name."""
    found = next((one for one in config.notify.targets if one.name == name), None)
    if found is None:
        known = ", ".join(one.name for one in config.notify.targets) or "none; give --config"
        raise click.UsageError(f"no target {name!r}; configured: {known}")
    return found


def _message(config: Config, target: NotifyTarget, kind: str, incident: Incident) -> dict[str, Any]:
    """What the target would be handed; a template that fails ends the command."""
    from webhooks.notify.message import document
    from webhooks.notify.template import TemplateError, render

    key = f"{incident.incident_id}/{kind}"
    message = document(kind, incident, key=key, facts=_facts(config, incident))
    made = dict(message)
    try:
        for field, template in (("title", target.template.title), ("text", target.template.text)):
            if template is not None:
                made[field] = render(template, message)
    except TemplateError as error:
        click.echo(f"pronoia: {target.name}: {error}", err=True)
        raise SystemExit(1) from error
    return made


@notify.command("inhibit-rules")
@config_option
def print_inhibit_rules(config_path: Path | None) -> None:
    """Print inhibit_rules for Alertmanager, with which an incident's alert inhibits its members.

    They go with response.synthetic, which posts incidents to Alertmanager as alerts.

    \b
    Example:
      pronoia notify inhibit-rules
    """
    import yaml

    from webhooks.respond.synthetic import inhibit_rules

    by = read_config(config_path).response.synthetic.inhibit_by
    click.echo(yaml.safe_dump({"inhibit_rules": inhibit_rules(by)}, sort_keys=False), nl=False)


@notify.command("proposals")
@config_option
@data_option
@click.option("--last", default="30d", show_default=True, help="How far back.")
@click.option("--team", help="Only incidents of this team.  [default: all]")
@click.option(
    "--group-by",
    multiple=True,
    help="Label by which Alertmanager groups now; again for each.  [default: what the first one says]",
)
def print_proposals(
    config_path: Path | None,
    data_directory: Path | None,
    last: str,
    team: str | None,
    group_by: tuple[str, ...],
) -> None:
    """Print inhibit_rules, group_by and routes that the past argues for, as parts of Alertmanager's file.

    Each says how many notifications it would have removed, and which incidents that mattered
    people would have heard of less plainly.

    \b
    Example:
      pronoia notify proposals --last 90d --team cdn --group-by alertname

    Exit codes: 0 nothing to propose, 1 something, 2 wrong use.
    """
    from sidecar.cli.report_noise import duration_of, past_of
    from webhooks.respond.routing_proposals import as_yaml, proposals

    past = past_of(config_path, data_directory, team=team, seconds=duration_of(last))
    now = group_by or _grouping(read_config(config_path))
    found = proposals(past.incidents, past.episodes, past.responses, past.feedback, group_by=now)
    click.echo(as_yaml(found), nl=False)
    if not found:
        # Not to standard output, which is read as YAML.
        click.echo(f"nothing to propose from {len(past.incidents)} incidents of the last {last}", err=True)
    raise SystemExit(1 if found else 0)


def _grouping(config: Config) -> tuple[str, ...]:
    """By what the first configured Alertmanager's root route groups; by rule where it cannot be asked."""
    import asyncio

    import yaml
    from prometheus_client import CollectorRegistry

    from sidecar.errors import PullError
    from sidecar.prometheus.alertmanager import AlertmanagerClient
    from sidecar.prometheus.session import PullMetrics

    async def ask() -> tuple[str, ...]:
        metrics = PullMetrics(CollectorRegistry())
        async with AlertmanagerClient(config.alertmanagers[0], metrics=metrics) as client:
            status = await client.status()
        route = yaml.safe_load(str(status["config"]["original"]))["route"]
        return tuple(map(str, route.get("group_by") or ()))

    if not config.alertmanagers:
        return ("alertname",)
    try:
        return asyncio.run(ask())
    except (PullError, yaml.YAMLError, KeyError, TypeError) as error:
        click.echo(f"pronoia: the grouping now is not known, alertname is assumed: {error}", err=True)
        return ("alertname",)


def _facts(config: Config, incident: Incident) -> dict[str, object]:
    """What tables and links say of an incident; nothing is asked of Prometheus."""
    from prometheus_client import CollectorRegistry

    from webhooks.respond.enrich import Enricher, EnrichMetrics

    async def none(_: str) -> list[Episode]:
        return []

    metrics = EnrichMetrics(CollectorRegistry())
    found = Enricher(config.enrichment, episodes=none, metrics=metrics, now=time.time).of(incident)
    values = {query.name: "…" for query in config.enrichment.queries}
    return {"facts": found.facts, "links": found.links, "values": values}


def _invented() -> Incident:
    from sidecar.records import Cause, Incident

    now_ns = time.time_ns()
    return Incident(
        "inc-example",
        "default",
        "cart-db: DatabaseDown, CartErrors",
        now_ns,
        now_ns,
        shared_labels={"cluster": "eu", "namespace": "shop"},
        causes=[Cause("f", "cart-db", 0.8, ["alerted first", "cart depends on it"])],
        n_episodes=12,
        n_firing=9,
        priority="P1",
        priority_reasons=["a tier-1 service fails"],
        category="availability",
    )
