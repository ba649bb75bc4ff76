"""The webhook endpoint: who may send, how much, and which answer makes Alertmanager do what.

5xx and a broken connection are retried by Alertmanager, 4xx never are, 2xx ends
it; so 2xx is answered only when the delivery is durable.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from aiohttp import web
from prometheus_client import CollectorRegistry, Counter, Histogram

from sidecar.config.webhook import WebhookAuth, WebhookConfig
from sidecar.errors import PayloadError, StoreError
from sidecar.records import DEFAULT_TENANT
from webhooks.intake.commits import Intake
from webhooks.intake.gate import allowed, signed
from webhooks.intake.packing import TooLarge, unpacked
from webhooks.intake.payload import parse
from webhooks.intake.recorder import parse_events
from webhooks.own import inner_delivery
from webhooks.quieten.flapping import FlapWatch
from webhooks.secret_log import SecretLog

PATH = "/webhooks/alertmanager"
EVENTS_PATH = "/webhooks/alertmanager-events"
BIG_BODY, BIG_EVENTS = 1_000_000, 50_000
"""Bytes of alerts, and of events, each of which is looked at: above them no other request waits for that."""
ROUTES = frozenset(path + rest for path in (PATH, EVENTS_PATH) for rest in ("", "/", "/{receiver}"))
"""With a slash at the end, too: Alertmanager takes a 404 for final, and drops the alerts."""

BODY_SECONDS = 60.0
"""Alertmanager itself waits less; who dies amid sending would hold a connection, and what came, for hours."""
Answer = Callable[[str, bytes], Awaitable[web.Response]]
"""What becomes of a tenant's body that may be taken."""


class Receiver:
    """POST /webhooks/alertmanager, the same for each named receiver, and for the event recorder."""

    def __init__(
        self,
        intake: Intake,
        config: WebhookConfig,
        *,
        registry: CollectorRegistry,
        flaps: FlapWatch | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._intake = intake
        self._config = config
        self._now = now
        self._flaps = flaps or FlapWatch()
        self._senders: dict[str, tuple[str, WebhookAuth]] = {"": (DEFAULT_TENANT, config.auth)}
        for one in config.receivers:
            self._senders[one.name] = (one.tenant, one.auth)
        self._secrets = SecretLog("receiver")
        self._requests = Counter(
            "pronoia_webhook_requests_total", "Webhook requests, by answer.", ["code"], registry=registry
        )
        self._answered = {code: self._requests.labels(str(code)) for code in (200, 400, 401, 404, 413, 503)}
        self._duration = Histogram(
            "pronoia_webhook_duration_seconds",
            "Webhook requests, until durable.",
            registry=registry,
            buckets=(0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10),
        )
        self._recorded = Counter(
            "pronoia_webhook_recorder_events_total",
            "Events of Alertmanager's event recorder, by kind.",
            ["kind"],
            registry=registry,
        )

    def add_routes(self, router: web.UrlDispatcher) -> None:
        """Register the endpoints; other methods on them are answered with 405 by the router."""
        for rest in ("", "/", "/{receiver}"):
            router.add_post(PATH + rest, self.handle)
            router.add_post(EVENTS_PATH + rest, self.handle_events)

    async def handle(self, request: web.Request) -> web.Response:
        """One delivery."""
        return await self._measured(request, self._take_delivery)

    async def handle_events(self, request: web.Request) -> web.Response:
        """Events of Alertmanager's event recorder."""
        return await self._measured(request, self._take_events)

    async def _measured(self, request: web.Request, take: Answer) -> web.Response:
        began = time.perf_counter()
        response = await self._answer(request, take)
        self._answered[response.status].inc()
        self._duration.observe(time.perf_counter() - began)
        return response

    async def _answer(self, request: web.Request, take: Answer) -> web.Response:
        name = request.match_info.get("receiver", "")
        sender = self._senders.get(name)
        if sender is None:
            return _refuse(404, "no receiver of that name; see webhook.receivers")
        tenant, auth = sender
        certificate = request.get_extra_info("peercert") if auth.client_names else None
        try:
            if not allowed(auth, request.headers.get("Authorization", ""), certificate):
                return _refuse(401, "wrong or missing credentials")
        except OSError as error:
            return self._cannot_tell(name, error)
        if (request.content_length or 0) > self._config.max_body_bytes:
            return _refuse(413, f"body above {self._config.max_body_bytes} bytes; set max_alerts")
        try:
            async with asyncio.timeout(BODY_SECONDS):
                body = await request.read()
        except TimeoutError:
            return _refuse(503, f"the body did not arrive within {BODY_SECONDS:g} s, send it again")
        except ConnectionError:
            return _refuse(503, "hung up amid the body")  # Nobody hears it; it is counted.
        except web.HTTPRequestEntityTooLarge:
            return _refuse(413, f"body above {self._config.max_body_bytes} bytes; set max_alerts")
        try:
            packing = request.headers.get("Content-Encoding", "")
            body = await unpacked(body, packing, most_bytes=self._config.max_body_bytes)
        except TooLarge:
            return _refuse(413, f"body above {self._config.max_body_bytes} bytes; set max_alerts")
        except ValueError as error:
            return _refuse(400, f"body cannot be unpacked: {error}")
        try:
            if not signed(auth, request.headers.get(auth.hmac_header, ""), body):
                return _refuse(401, "wrong or missing signature")
        except OSError as error:
            return self._cannot_tell(name, error)
        self._secrets.read(_named(name))
        try:
            return await take(tenant, body)
        except PayloadError as error:
            return _refuse(400, str(error))
        except StoreError as error:
            return _refuse(503, f"not stored ({error.reason}), send it again")

    def _cannot_tell(self, receiver: str, error: OSError) -> web.Response:
        """Who sends cannot be told: what is sent stays with Alertmanager until it can."""
        self._secrets.unreadable(_named(receiver), error)
        return _refuse(503, "this receiver cannot read its own credentials file")

    async def _take_delivery(self, tenant: str, body: bytes) -> web.Response:
        received_at_ns = int(self._now() * 1e9)
        if len(body) > BIG_BODY:
            # Its alerts may have to be read one by one.
            delivery = await asyncio.to_thread(parse, body, received_at_ns=received_at_ns, tenant=tenant)
        else:
            delivery = parse(body, received_at_ns=received_at_ns, tenant=tenant)
        await self._intake.accept(delivery)
        n_dead = len(delivery.dead_letters)
        return web.Response(
            body=b'{"status":"ok","alerts":%d,"dead_letters":%d}' % (len(delivery.alerts), n_dead),
            content_type="application/json",
        )

    async def _take_events(self, tenant: str, body: bytes) -> web.Response:
        if len(body) > BIG_EVENTS:
            recorded = await asyncio.to_thread(parse_events, body)
        else:
            recorded = parse_events(body)
        for kind, n in recorded.kinds.items():
            self._recorded.labels(kind).inc(n)
        at_ns = int(self._now() * 1e9)
        known = self._intake.memory.episodes
        ended = []
        for event in recorded.resolved:
            episode = known.get((tenant, event.fingerprint))
            if episode is not None and episode.state != "resolved":
                ended.append(event)
        if ended:
            await self._intake.accept(
                inner_delivery(ended, receiver="event recorder", received_at_ns=at_ns, tenant=tenant)
            )
        for event in recorded.created:  # Last: what is not stored is sent, and would be counted, again.
            self._flaps.count(tenant, event, now=at_ns / 1e9)
        return web.Response(
            body=b'{"status":"ok","events":%d,"ended":%d}' % (recorded.kinds.total(), len(ended)),
            content_type="application/json",
        )


def _named(receiver: str) -> str:
    return f"the credentials of receiver {receiver}" if receiver else "the credentials of the webhook"


def _refuse(status: int, words: str) -> web.Response:
    """A short single line: Alertmanager logs the whole body of a refusal."""
    return web.Response(status=status, text=" ".join(words.split())[:190])
