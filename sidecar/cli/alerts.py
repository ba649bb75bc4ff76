"""`pronoia alerts`: those of before, those that flap, and dead letters, given to the receiver again."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.error import HTTPError, URLError
from urllib.request import Request

import click

from sidecar.cli.alerts_flapping import flapping
from sidecar.cli.alerts_import import import_alerts
from sidecar.cli.options import config_option, data_option, read_config
from sidecar.cli.own_api import StrangeAnswer, answer_of, own_url
from sidecar.cli.stored import no_database

if TYPE_CHECKING:
    from sidecar.config.model import Config
    from sidecar.config.webhook import WebhookAuth

AGAIN = "still not usable"


@click.group()
def alerts() -> None:
    """Alerts that were received."""


alerts.add_command(import_alerts)
alerts.add_command(flapping)


@alerts.command()
@config_option
@data_option
@click.option(
    "--to",
    "url",
    help="The running pronoia that shall take them.  [default: where it is configured to listen]",
)
@click.option("--dry-run", is_flag=True, help="Only say what there is.")
def replay(config_path: Path | None, data_directory: Path | None, url: str | None, dry_run: bool) -> None:
    """Give the dead letters to a running pronoia again; those that it can use now leave the table.

    A dead letter is an alert of a delivery that could not be used, kept with its reason:
    after an upgrade, or once its sender is mended, it may be usable. Each goes to the
    receiver of its tenant.

    \b
    Example:
      pronoia alerts replay --dry-run

    Exit codes: 0 none is left, 1 some are left or pronoia did not answer, 2 wrong use.
    """
    from sidecar.store.connection import FILE

    overrides = {"store": {"directory": data_directory}} if data_directory else {}
    config = read_config(config_path, overrides)
    path = config.store.directory / FILE
    if not path.exists():
        click.echo(no_database(config.store.directory), err=True)
        raise SystemExit(2)
    url = url or own_url(config_path)
    if not url.startswith(("http://", "https://")):
        raise click.BadParameter(f"{url!r} is not a URL; write http://host:9469", param_hint="--to")
    try:
        with closing(sqlite3.connect(path, timeout=10.0)) as database:
            left = _give_all(database, None if dry_run else url, config)
    except sqlite3.Error as error:
        click.echo(f"pronoia: {path}: {error}", err=True)
        raise SystemExit(1) from error
    raise SystemExit(1 if left else 0)


def _give_all(database: sqlite3.Connection, url: str | None, config: Config) -> int:
    """Give every dead letter to the pronoia at that URL (None: to nobody) and tell; how many are left."""
    letters = database.execute("select id, tenant, reason, raw from dead_letters order by id").fetchall()
    n_taken = 0
    for letter_id, tenant, reason, raw in letters:
        taken, words = (False, "not tried") if url is None else _give(url, tenant, bytes(raw), config)
        if taken or words == AGAIN:
            # What is still not usable has become a dead letter anew, with today's reason.
            database.execute("delete from dead_letters where id = ?", (letter_id,))
            database.commit()
        n_taken += taken
        if not taken:
            click.echo(f"{letter_id}: {reason} ({words})")
    click.echo(f"{n_taken} of {len(letters)} dead letters were taken")
    return len(letters) - n_taken


def _give(url: str, tenant: str, raw: bytes, config: Config) -> tuple[bool, str]:
    """Whether pronoia takes a tenant's alert now, and if not, why."""
    senders = _senders(config)
    if tenant not in senders:
        return False, f"no receiver of webhook.receivers is tenant {tenant}'s"
    path, auth = senders[tenant]
    try:
        alert = json.loads(raw)
    except ValueError:
        return False, "no JSON"
    body = json.dumps({"version": "4", "receiver": "replay", "groupKey": "", "alerts": [alert]}).encode()
    address = f"{url.rstrip('/')}/webhooks/alertmanager{path}"
    try:
        answer = answer_of(Request(address, data=body, headers=_headers(auth, body)))  # noqa: S310
    except HTTPError as error:
        return False, f"{url} answered {error.code}"
    except StrangeAnswer:
        answer = {}
    except (OSError, ValueError) as error:
        reason = error.reason if isinstance(error, URLError) else error
        return False, f"{url} does not answer: {reason}"
    if not isinstance(answer.get("dead_letters"), int):
        # Whoever it is that took it: the letter is not to be deleted here.
        return False, f"{url} answers, but not as pronoia does"
    return answer["dead_letters"] == 0, AGAIN


def _senders(config: Config) -> dict[str, tuple[str, WebhookAuth]]:
    """By tenant: a receiver whose alerts are that tenant's, and what it asks of a sender."""
    from sidecar.records import DEFAULT_TENANT

    named = {one.tenant: (f"/{one.name}", one.auth) for one in config.webhook.receivers}
    return named | {DEFAULT_TENANT: ("", config.webhook.auth)}


def _headers(auth: WebhookAuth, body: bytes) -> dict[str, str]:
    """What a receiver asks of a sender."""
    from webhooks.intake.gate import authorization_of, signature_of

    found = {"Authorization": authorization_of(auth), auth.hmac_header: signature_of(auth, body)}
    return {"Content-Type": "application/json"} | {name: value for name, value in found.items() if value}
