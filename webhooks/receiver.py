"""The webhook endpoint: who may send, how much, and which answer makes Alertmanager do what.

5xx and a broken connection are retried by Alertmanager, 4xx never are, 2xx ends
it; so 2xx is answered only when the delivery is durable.
"""

from __future__ import annotations

import hmac
import time
from base64 import b64encode
from collections.abc import Callable

from aiohttp import web
from prometheus_client import CollectorRegistry, Counter, Histogram

from sidecar.config.load import read_secret
from sidecar.config.webhook import WebhookConfig
from sidecar.errors import PayloadError, StoreError
from webhooks.intake import Intake
from webhooks.payload import parse

PATH = "/webhooks/alertmanager"


class Receiver:
    """POST /webhooks/alertmanager."""

    def __init__(
        self,
        intake: Intake,
        config: WebhookConfig,
        *,
        registry: CollectorRegistry,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._intake = intake
        self._config = config
        self._now = now
        self._requests = Counter(
            "pronoia_webhook_requests_total", "Webhook requests, by answer.", ["code"], registry=registry
        )
        for code in ("200", "400", "401", "413", "503"):
            self._requests.labels(code)
        self._duration = Histogram(
            "pronoia_webhook_duration_seconds",
            "Webhook requests, until durable.",
            registry=registry,
            buckets=(0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10),
        )

    def add_routes(self, router: web.UrlDispatcher) -> None:
        """Register the endpoint; other methods on it are answered with 405 by the router."""
        router.add_post(PATH, self.handle)

    async def handle(self, request: web.Request) -> web.Response:
        """One delivery."""
        began = time.perf_counter()
        response = await self._answer(request)
        self._requests.labels(str(response.status)).inc()
        self._duration.observe(time.perf_counter() - began)
        return response

    async def _answer(self, request: web.Request) -> web.Response:
        try:
            allowed = self._allowed(request.headers.get("Authorization", ""))
        except OSError:
            return _refuse(503, "this receiver cannot read its own credentials file")
        if not allowed:
            return _refuse(401, "wrong or missing credentials")
        if (request.content_length or 0) > self._config.max_body_bytes:
            return _refuse(413, f"body above {self._config.max_body_bytes} bytes; set max_alerts")
        try:
            body = await request.read()
        except web.HTTPRequestEntityTooLarge:
            return _refuse(413, f"body above {self._config.max_body_bytes} bytes; set max_alerts")
        try:
            signed = self._signed(request.headers.get(self._config.auth.hmac_header, ""), body)
        except OSError:
            return _refuse(503, "this receiver cannot read its own credentials file")
        if not signed:
            return _refuse(401, "wrong or missing signature")
        try:
            delivery = parse(body, received_at_ns=int(self._now() * 1e9))
        except PayloadError as error:
            return _refuse(400, str(error))
        try:
            await self._intake.accept(delivery)
        except StoreError as error:
            return _refuse(503, f"not stored ({error.reason}), send it again")
        n_dead = len(delivery.dead_letters)
        return web.Response(
            body=b'{"status":"ok","alerts":%d,"dead_letters":%d}' % (len(delivery.alerts), n_dead),
            content_type="application/json",
        )

    def _allowed(self, authorization: str) -> bool:
        auth = self._config.auth
        expected: str | None = None
        if auth.basic_auth is not None:
            password = read_secret(auth.basic_auth.password, auth.basic_auth.password_file) or ""
            expected = "Basic " + b64encode(f"{auth.basic_auth.username}:{password}".encode()).decode()
        else:
            token = read_secret(auth.bearer_token, auth.bearer_token_file)
            if token is not None:
                expected = f"Bearer {token}"
        return expected is None or hmac.compare_digest(
            # Header bytes that are no UTF-8 arrive as surrogates; they are wrong credentials, not our fault.
            authorization.encode(errors="surrogateescape"),
            expected.encode(),
        )

    def _signed(self, signature: str, body: bytes) -> bool:
        """Whether the body is signed as it must be; Alertmanager itself signs nothing, a proxy may."""
        auth = self._config.auth
        secret = read_secret(auth.hmac_secret, auth.hmac_secret_file)
        if secret is None:
            return True
        expected = hmac.new(secret.encode(), body, "sha256").hexdigest()
        given = signature.removeprefix("sha256=").lower()
        return hmac.compare_digest(given.encode(errors="surrogateescape"), expected.encode())


def _refuse(status: int, words: str) -> web.Response:
    """A short single line: Alertmanager logs the whole body of a refusal."""
    return web.Response(status=status, text=" ".join(words.split())[:190])
