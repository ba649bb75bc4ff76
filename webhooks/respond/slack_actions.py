"""Slack's buttons: who pressed what, believed only with Slack's signature."""

from __future__ import annotations

import asyncio
import hmac
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any
from urllib.parse import parse_qs

import msgspec
from aiohttp import web

from sidecar.bodies import read_up_to
from sidecar.config.channels import SlackConfig
from sidecar.config.load import read_secret
from sidecar.errors import NotifyError, StoreError
from sidecar.telemetry import get_logger
from webhooks.notify.channels.slack import escape
from webhooks.respond.lifecycle import ActionError
from webhooks.secret_log import SecretLog

INTERACTIONS_PATH = "/webhooks/slack/interactions"
MAX_AGE_SECONDS = 300.0
"""Older requests are refused, as Slack advises: they may be recorded ones."""
MAX_STAMP = 20
MAX_BODY = 256 * 1024
ANSWERS_TO = ("https://hooks.slack.com/", "https://hooks.slack-gov.com/")
"""Where Slack takes answers to a press; nothing is sent elsewhere, whatever a payload says."""

ACTIONS = {"pronoia_acknowledge": "acknowledge", "pronoia_mitigate": "mitigate", "pronoia_noise": "noise"}


Answer = Callable[..., Awaitable[Any]]
"""POSTs a body to a URL. Raises: NotifyError."""


async def _nobody(_: str, **__: Any) -> None:
    """Where nobody is answered."""


class SlackActions:
    """POST /webhooks/slack/interactions, of all Slack targets that have a signing secret."""

    def __init__(
        self,
        configs: Sequence[SlackConfig],
        do: Callable[..., Any],
        *,
        answer: Answer = _nobody,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._configs = [config for config in configs if config.interactive]
        self._do = do
        self._answer = answer
        self._answering: set[asyncio.Task[None]] = set()
        self._now = now
        self._log = get_logger("slack")
        self._secrets = SecretLog("slack")

    async def handle(self, request: web.Request) -> web.Response:
        """One press of a button. Slack shows an error to the person unless the answer is 200."""
        body = await read_up_to(request.content, MAX_BODY + 1)
        stamp = request.headers.get("X-Slack-Request-Timestamp", "")
        signature = request.headers.get("X-Slack-Signature", "")
        if len(body) > MAX_BODY or not self.signed(body, stamp, signature):
            return web.Response(status=401, text="not signed by Slack")
        try:
            payload = msgspec.json.decode(parse_qs(body.decode())["payload"][0], type=dict[str, Any])
            user = payload.get("user", {})
            actor = f"slack:{user.get('username') or user.get('name') or user.get('id') or 'somebody'}"
            pressed = [
                (ACTIONS[action["action_id"]], str(action["value"]))
                for action in payload.get("actions", [])
                if action.get("action_id") in ACTIONS
            ]
        except (KeyError, IndexError, TypeError, AttributeError, ValueError) as error:
            return web.Response(status=400, text=f"not an interaction: {type(error).__name__}")
        for action, incident_id in pressed:
            try:
                words = await self._press(incident_id, action, actor)
            except StoreError:
                return web.Response(status=503, text="not stored, press again")
            if words:
                self._tell(str(payload.get("response_url", "")), words)
        return web.Response()

    async def _press(self, incident_id: str, action: str, actor: str) -> str:
        """Do what was pressed; what only the person who pressed need know of it. Raises: StoreError."""
        try:
            response = await self._do(incident_id, action, actor=actor)
        except KeyError:
            words = f"Incident {incident_id} is stored no longer; nothing was done."
        except ActionError as error:
            words = f"Incident {incident_id} {error}."
        else:
            if response.incident_id == incident_id:
                return ""
            return f"Incident {incident_id} went into {response.incident_id}; it was done to that one."
        # Pressed on an old message: nothing is left to do, and Slack need show no error.
        self._log.info("button without effect", action=action, incident=incident_id, err=words)
        return words

    def _tell(self, url: str, words: str) -> None:
        """Say something to who has pressed; the request's answer, due within three seconds, does not wait."""
        if url.startswith(ANSWERS_TO):
            task = asyncio.create_task(self._send(url, words), name="slack-answer")
            self._answering.add(task)
            task.add_done_callback(self._answering.discard)

    async def _send(self, url: str, words: str) -> None:
        told = {"response_type": "ephemeral", "replace_original": False, "text": escape(words)}
        try:
            await self._answer(url, body=msgspec.json.encode(told), headers={})
        except NotifyError as error:
            self._log.info("who pressed a button was not told", err=str(error))

    async def close(self) -> None:
        """Cut the answers that are under way."""
        for task in self._answering:
            task.cancel()
        await asyncio.gather(*self._answering, return_exceptions=True)

    def signed(self, body: bytes, stamp: str, signature: str) -> bool:
        """Whether one of the signing secrets signed the body, a moment ago.

        Source: https://api.slack.com/authentication/verifying-requests-from-slack, version v0.
        """
        # Longer, it is no time, and at thousands of digits no number that Python reads.
        if not stamp.isdecimal() or len(stamp) > MAX_STAMP:
            return False
        if abs(self._now() - int(stamp)) > MAX_AGE_SECONDS:
            return False
        given = signature.encode(errors="surrogateescape")
        found = False
        for config in self._configs:
            try:
                secret = read_secret(config.signing_secret, config.signing_secret_file) or ""
            except OSError as error:
                self._secrets.unreadable(f"the signing secret of channel {config.channel}", error)
                continue
            self._secrets.read(f"the signing secret of channel {config.channel}")
            expected = (
                "v0=" + hmac.new(secret.encode(), b"v0:" + stamp.encode() + b":" + body, "sha256").hexdigest()
            )
            found |= bool(secret) and hmac.compare_digest(given, expected.encode())
        return found
