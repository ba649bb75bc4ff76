"""The HTTP server: lifecycle endpoints as Prometheus has them, the JSON API, the web page."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
from collections.abc import Callable, Iterable
from importlib import resources
from itertools import islice
from typing import Any

import msgspec
from aiohttp import web

from sidecar.api.authentication import authentication
from sidecar.api.openapi import document
from sidecar.api.stream import EventStream
from sidecar.api.views import Reload, Views
from sidecar.config.access import AccessConfig
from sidecar.errors import ConfigError, StoreError
from sidecar.events import EventBus
from sidecar.records import Incident, Response
from sidecar.telemetry import get_logger
from webhooks.correlate.why import answers
from webhooks.respond.lifecycle import status_of, taken_by

MAX_LIMIT = 10_000
KINDS = {401: "unauthorized", 403: "forbidden", 404: "not_found", 503: "unavailable"}
"""`errorType` of an answer, by its status; of every other it is bad_data."""
TOLD_HEADERS = frozenset({"WWW-Authenticate", "Allow"})
"""Of a refusal, beside its words."""
NO_INCIDENT = "no incident of that id; see /api/v1/incidents"
SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}
"""On every answer. There is no CORS header: other sites' scripts may not read us."""


def build_app(
    *,
    views: Views,
    bus: EventBus,
    reload: Reload,
    quit_process: Callable[[], None],
    max_body_bytes: int,
    access: AccessConfig | None = None,
    own_proof: frozenset[str] = frozenset(),
) -> web.Application:
    """The application without the scrape and webhook endpoints, which the wiring adds to its router.

    `access`: None lets everybody in; `own_proof`: the routes that check their senders by themselves.
    """
    guard = authentication(access or AccessConfig(), own_proof=own_proof)
    app = web.Application(client_max_size=max_body_bytes, middlewares=[_json_errors, _hang_ups, guard])
    app.on_response_prepare.append(_secure)
    Lifecycle(views, reload, quit_process).add_routes(app.router)
    JsonApi(views).add_routes(app.router)
    stream = EventStream(bus)
    app.router.add_get("/api/v1/stream", stream.handle)
    app.on_shutdown.append(stream.close)
    page = resources.files("sidecar.api").joinpath("page.html").read_text(encoding="utf-8")
    policy = {"Content-Security-Policy": _policy(page)}

    async def index(_: web.Request) -> web.Response:
        return web.Response(text=page, content_type="text/html", headers=policy)

    app.router.add_get("/", index)
    return app


def _policy(page: str) -> str:
    """What the page may do: run its own script and style, known by their hashes, and ask this server."""

    def source(tag: str) -> str:
        found = re.search(f"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        text = found[1] if found else ""
        return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"

    return (
        f"default-src 'none'; style-src {source('style')}; script-src {source('script')}; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


class Lifecycle:
    """`/-/healthy`, `/-/ready`, `/-/reload`, `/-/quit` and `/health`."""

    def __init__(self, views: Views, reload: Reload, quit_process: Callable[[], None]) -> None:
        self._views = views
        self._reload = reload
        self._quit = quit_process

    def add_routes(self, router: web.UrlDispatcher) -> None:
        """Register the endpoints."""
        router.add_get("/-/healthy", self.healthy)
        router.add_get("/-/ready", self.ready)
        router.add_get("/health", self.health)
        router.add_get("/health/{component}", self.component)
        for method in ("POST", "PUT"):
            router.add_route(method, "/-/reload", self.reload)
            router.add_route(method, "/-/quit", self.quit)

    async def healthy(self, _: web.Request) -> web.Response:
        """200 as long as the process serves."""
        return web.Response(text="pronoia is healthy.\n")

    async def ready(self, _: web.Request) -> web.Response:
        """200 once a first pull was scored, else 503 with the reason."""
        ready, reason = self._views.ready()
        if ready:
            return web.Response(text="pronoia is ready.\n")
        return web.Response(status=503, text=f"not ready: {reason}\n")

    async def reload(self, _: web.Request) -> web.Response:
        """Read the configuration again; 500 with every fault if it cannot be used, 202 if it takes long."""
        try:
            waits_for = await self._reload()
        except ConfigError as error:
            return web.Response(status=500, text=f"{error}\n")
        if waits_for:
            words = f"the reload goes on, and waits for {waits_for}; the log tells when it is done\n"
            return web.Response(status=202, text=words)
        return web.Response(text="configuration reloaded\n")

    async def quit(self, _: web.Request) -> web.Response:
        """Stop the process, as SIGTERM does."""
        asyncio.get_running_loop().call_later(0.1, self._quit)
        return web.Response(text="stopping\n")

    async def health(self, _: web.Request) -> web.Response:
        """Every component; 503 if any is not well."""
        found = {name: check() for name, check in self._views.health().items()}
        return json_answer(
            {name: {"ok": health.ok, **health.detail} for name, health in found.items()},
            status=200 if all(health.ok for health in found.values()) else 503,
        )

    async def component(self, request: web.Request) -> web.Response:
        """One component."""
        check = self._views.health().get(request.match_info["component"])
        if check is None:
            return error_answer(404, "not_found", f"known components: {', '.join(self._views.health())}")
        health = check()
        return json_answer({"ok": health.ok, **health.detail}, status=200 if health.ok else 503)


class JsonApi:
    """`/api/v1/…`, in the envelope that Prometheus uses."""

    def __init__(self, views: Views) -> None:
        self._views = views

    def add_routes(self, router: web.UrlDispatcher) -> None:
        """Register the endpoints."""
        router.add_get("/api/v1/status", self.status)
        router.add_get("/api/v1/queries", self.queries)
        router.add_get("/api/v1/series", self.series)
        router.add_get("/api/v1/incidents", self.incidents)
        router.add_get("/api/v1/incidents/{id}", self.incident)
        router.add_get("/api/v1/incidents/{id}/why", self.why)
        router.add_get("/api/v1/rules", self.rules)
        router.add_get("/api/v1/openapi.json", self.openapi)

    async def status(self, _: web.Request) -> web.Response:
        """Version, uptime, configuration hash."""
        return json_answer(self._views.status())

    async def queries(self, _: web.Request) -> web.Response:
        """The watched queries."""
        return json_answer(self._views.queries())

    async def series(self, request: web.Request) -> web.Response:
        """The most anomalous series, of one query or of all."""
        query = request.query.get("query")
        try:
            return json_answer(self._views.series(query, limit_of(request)))
        except KeyError:
            return error_answer(404, "not_found", f"no query {query!r} is watched; see /api/v1/queries")

    async def incidents(self, request: web.Request) -> web.Response:
        """Incidents, newest first; by `sort=priority` the most urgent first, of equals the newest."""
        state, sort, limit = request.query.get("state"), request.query.get("sort"), limit_of(request)
        if state not in (None, "open", "resolved"):
            return error_answer(
                400, "bad_data", f"state is {state!r}; write open or resolved, or leave it out"
            )
        if sort not in (None, "priority"):
            return error_answer(400, "bad_data", f"sort is {sort!r}; write priority, or leave it out")
        found = await self._views.incidents(state, limit, urgent_first=sort == "priority")
        responses = await self._views.responses()
        shown = (_shown(one, responses.get(one.incident_id)) for one in found)
        return json_answer(await asyncio.to_thread(_pieces, shown))

    async def incident(self, request: web.Request) -> web.Response:
        """One incident with its episodes."""
        found = await self._views.incident(request.match_info["id"])
        if found is None:
            return error_answer(404, "not_found", NO_INCIDENT)
        incident, episodes = found
        response = (await self._views.responses()).get(incident.incident_id)
        of_episodes = await asyncio.to_thread(_pieces, episodes)
        return json_answer({**_shown(incident, response), "episodes": of_episodes})

    async def why(self, request: web.Request) -> web.Response:
        """Why alerts are in their incident, in words and in data."""
        found = await self._views.incident(request.match_info["id"])
        if found is None:
            return error_answer(404, "not_found", NO_INCIDENT)
        incident, episodes = found
        if incident.merged_into is not None:
            words = f"{incident.incident_id} went into {incident.merged_into}; ask why of that one"
            return error_answer(404, "not_found", words)
        alert = request.query.get("alert")
        some = islice(answers(incident, episodes, alert), limit_of(request))
        told = await asyncio.to_thread(_pieces, some)
        if alert is not None and not told:
            return error_answer(404, "not_found", f"{incident.incident_id} has no alert {alert}")
        return json_answer(told)

    async def rules(self, request: web.Request) -> web.Response:
        """Revisions of generated rule files."""
        return json_answer(await self._views.rules(limit_of(request)))

    async def openapi(self, _: web.Request) -> web.Response:
        """The description of this API."""
        return web.Response(body=msgspec.json.encode(document()), content_type="application/json")


def limit_of(request: web.Request) -> int:
    """The parameter `limit`, 100 by default; what is wrong with it is answered with 400."""
    text = request.query.get("limit", "100")
    if not re.fullmatch(r"[0-9]{1,5}", text) or not 1 <= int(text) <= MAX_LIMIT:
        raise _BadData(f"limit is {text!r}; write a whole number from 1 to {MAX_LIMIT}")
    return int(text)


class _BadData(Exception):
    """A parameter that cannot be used."""


def json_answer(data: Any, *, status: int = 200) -> web.Response:
    """Data in the API's envelope."""
    body = msgspec.json.encode({"status": "success", "data": data})
    return web.Response(body=body, status=status, content_type="application/json")


def _pieces(items: Iterable[Any]) -> list[msgspec.Raw]:
    """Many things, ready for an answer; for a thread of its own.

    Encoded at once, those of a storm would hold the interpreter's lock, and so all else, for a second.
    """
    encode = msgspec.json.Encoder().encode
    return [msgspec.Raw(encode(item)) for item in items]


def _shown(incident: Incident, response: Response | None) -> dict[str, Any]:
    """An incident with how far people have taken it, and who has it."""
    people = {"status": status_of(incident, response), "taken_by": taken_by(incident, response)}
    return {**msgspec.to_builtins(incident), **people}


def error_answer(status: int, kind: str, words: str) -> web.Response:
    """An error in the API's envelope."""
    body = msgspec.json.encode({"status": "error", "errorType": kind, "error": words})
    return web.Response(body=body, status=status, content_type="application/json")


@web.middleware
async def _json_errors(request: web.Request, handler: Callable[[web.Request], Any]) -> web.StreamResponse:
    """Under /api, errors are JSON too, and a store in trouble is a 503 that says so."""
    if not request.path.startswith("/api/"):
        response: web.StreamResponse = await handler(request)
        return response
    try:
        response = await handler(request)
        return response
    except _BadData as error:
        return error_answer(400, "bad_data", str(error))
    except StoreError as error:
        return error_answer(503, "unavailable", str(error))
    except web.HTTPException as error:
        if error.status < 400:
            raise
        answer = error_answer(error.status, KINDS.get(error.status, "bad_data"), _words(request, error))
        for name in TOLD_HEADERS & error.headers.keys():
            answer.headers[name] = error.headers[name]
        return answer
    except Exception:
        # The request's edge: a defect in one answer is told in the form that every client reads.
        get_logger("api").exception("a request broke off", path=request.path)
        return error_answer(500, "internal", "a defect of pronoia's; its log has the trace")


@web.middleware
async def _hang_ups(request: web.Request, handler: Callable[[web.Request], Any]) -> web.StreamResponse:
    """Who hangs up amid its own request is no fault of ours, and needs no trace in the log."""
    try:
        response: web.StreamResponse = await handler(request)
        return response
    except ConnectionError:
        if request.transport is not None and not request.transport.is_closing():
            raise
        return web.Response(status=400)  # Nobody hears it.


def _words(request: web.Request, error: web.HTTPException) -> str:
    """What was wrong, and what would be right: aiohttp's own words for a missing path say neither."""
    if isinstance(error, web.HTTPMethodNotAllowed):
        return f"{request.method} is not answered here; use {' or '.join(sorted(error.allowed_methods))}"
    if isinstance(request.match_info.http_exception, web.HTTPNotFound):
        return f"there is no {request.path[:200]}; see /api/v1/openapi.json"
    return error.reason


async def _secure(request: web.Request, response: web.StreamResponse) -> None:
    for name, value in SECURITY_HEADERS.items():
        response.headers.setdefault(name, value)
