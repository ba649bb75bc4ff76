"""PagerDuty's webhooks: what people did there about an incident is done here, too."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Annotated, Any

import msgspec
from aiohttp import web

from sidecar.bodies import read_up_to
from sidecar.config.channels import PagerDutyConfig
from sidecar.config.load import read_secret
from sidecar.errors import StoreError
from sidecar.telemetry import get_logger
from webhooks.intake.payload import UNREADABLE
from webhooks.notify.channels.pagerduty import KEY_PREFIX
from webhooks.respond.lifecycle import ActionError
from webhooks.secret_log import SecretLog

EVENTS_PATH = "/webhooks/pagerduty"
MAX_BODY = 1024 * 1024
MAX_REMEMBERED = 10_000
ACTIONS = {
    "incident.acknowledged": "acknowledge",
    "incident.unacknowledged": "unacknowledge",
    "incident.reopened": "unacknowledge",
    # Alerts decide when an incident is over; who resolves it says that the harm has ended.
    "incident.resolved": "mitigate",
}


class _Agent(msgspec.Struct):
    type: str = ""
    id: str = ""
    summary: str | None = None


class _Event(msgspec.Struct):
    event_type: str
    occurred_at: Annotated[datetime, msgspec.Meta(tz=True)]
    agent: _Agent | None = None
    data: msgspec.Raw = msgspec.Raw(b"{}")


class _Delivery(msgspec.Struct):
    event: _Event


class _Incident(msgspec.Struct):
    incident_key: str | None = None


class PagerDutyEvents:
    """POST /webhooks/pagerduty, of all PagerDuty targets that have a webhook's secret.

    Source: PagerDuty's developer documentation, "Webhooks V3" and "Verifying Signatures".
    """

    def __init__(self, configs: Sequence[PagerDutyConfig], do: Callable[..., Any]) -> None:
        self._configs = [config for config in configs if config.tells_back]
        self._do = do
        self._newest: dict[str, datetime] = {}
        """Of each incident the time of the newest event: they come again, and out of order."""
        self._one_at_a_time = asyncio.Lock()
        self._log = get_logger("pagerduty")
        self._secrets = SecretLog("pagerduty")

    async def handle(self, request: web.Request) -> web.Response:
        """One event. PagerDuty sends it again unless the answer is 2xx."""
        body = await read_up_to(request.content, MAX_BODY + 1)
        if len(body) > MAX_BODY:
            return web.Response(status=413, text=f"longer than {MAX_BODY} bytes")
        if not self.signed(body, request.headers.get("X-PagerDuty-Signature", "")):
            return web.Response(status=401, text="not signed by PagerDuty")
        try:
            event = msgspec.json.decode(body, type=_Delivery).event
            action = ACTIONS.get(event.event_type)
            key = msgspec.json.decode(event.data, type=_Incident).incident_key if action else None
        except UNREADABLE as error:
            return web.Response(status=400, text=f"not an event: {type(error).__name__}")
        agent = event.agent
        # What pronoia itself has sent comes back with the integration as its agent.
        if action and key and key.startswith(KEY_PREFIX) and agent and agent.type.startswith("user"):
            actor = f"pagerduty:{agent.summary or agent.id or 'somebody'}"
            try:
                async with self._one_at_a_time:
                    await self._take(key.removeprefix(KEY_PREFIX), action, actor, event.occurred_at)
            except StoreError:
                return web.Response(status=503, text="not stored, send it again")
        return web.Response()

    async def _take(self, incident_id: str, action: str, actor: str, at: datetime) -> None:
        """Do what was done there, unless something newer is known. Raises: StoreError."""
        newest = self._newest.get(incident_id)
        if newest is not None and at <= newest:
            return
        try:
            await self._do(incident_id, action, actor=actor)
        except (KeyError, ActionError) as error:
            # Done to what is over or gone here: nothing is left to do, and to send it again is of no use.
            self._log.info("event without effect", action=action, incident=incident_id, err=str(error))
        self._newest.pop(incident_id, None)
        self._newest[incident_id] = at
        if len(self._newest) > MAX_REMEMBERED:
            del self._newest[next(iter(self._newest))]

    def signed(self, body: bytes, signatures: str) -> bool:
        """Whether one of the secrets made one of the signatures; there are several while one is replaced."""
        given = [one.strip().encode(errors="surrogateescape") for one in signatures.split(",")]
        found = False
        for number, config in enumerate(self._configs, 1):
            name = f"the webhook's secret of PagerDuty target {number}"
            try:
                secret = read_secret(config.webhook_secret, config.webhook_secret_file) or ""
            except OSError as error:
                self._secrets.unreadable(name, error)
                continue
            self._secrets.read(name)
            expected = b"v1=" + hmac.new(secret.encode(), body, "sha256").hexdigest().encode()
            for one in given:
                found |= bool(secret) and hmac.compare_digest(one, expected)
        return found
