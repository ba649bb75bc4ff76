"""The HTTP endpoints of responding: actions on incidents, verdicts, signed links, Slack's buttons."""

from __future__ import annotations

import html
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Protocol

import msgspec
from aiohttp import web

from sidecar.errors import StoreError
from sidecar.records import Incident, Response, TimelineEntry
from webhooks.intake.packing import TooLarge, body_of
from webhooks.intake.payload import UNREADABLE
from webhooks.respond.document import POLICY, opening
from webhooks.respond.feedback import VERDICTS
from webhooks.respond.lifecycle import ACTIONS, ActionError, unknown
from webhooks.respond.links import Link, LinkError, verify
from webhooks.respond.slack_actions import INTERACTIONS_PATH, SlackActions

MAX_BODY = 64 * 1024

PAGE = """{opening}<h1>{title}</h1><p>{text}</p>{form}</html>"""
FORM = '<form method="post">{choice}<button type="submit">Yes, say so</button></form>'
CHOICE = '<p><label><input type="radio" name="of" value="{id}"> {title} ({id})</label></p>'
WORDS = {
    "useful": "This incident was worth telling of.",
    "noise": "This incident was noise.",
    "duplicate": "This incident repeats another one.",
    "wrong_merge": "This incident puts together what does not belong together.",
}


class Actions(Protocol):
    """What the endpoints ask for."""

    async def do(self, incident_id: str, action: str, *, actor: str, text: str = "") -> Response:
        """Take an action. Raises: ActionError, KeyError, StoreError."""
        ...

    async def say(self, incident_id: str, verdict: str, *, actor: str, of: str = "") -> int:
        """Keep a verdict. Raises: ActionError, KeyError, StoreError."""
        ...


class Request(msgspec.Struct, forbid_unknown_fields=True):
    """The body of an action: who, and what goes with it."""

    by: str = ""
    text: str = ""


class Said(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a verdict."""

    incident_id: str
    verdict: str
    by: str = ""
    of: str = ""


FEEDBACK_ROUTE = "/feedback/{token}"
ACTOR = web.RequestKey("actor", str)
"""Under this key of a request lies the name of a user who has shown credentials; it wins over the body's."""

Special = Callable[[str, str, str], Awaitable[Any]]
"""An action on an incident's alerts, not on its response: id, who, text; its answer."""

View = Callable[[str], Awaitable[Mapping[str, Any] | None]]


class ResponseEndpoints:
    """Actions on incidents, feedback, the pages behind signed links, Slack's interactions."""

    def __init__(
        self,
        actions: Actions,
        *,
        specials: Mapping[str, Special],
        view: View,
        on_call: Callable[[], Any],
        secret: bytes,
        slack: SlackActions,
        candidates: Callable[[str], Iterable[Incident]] = lambda _: (),
        now: Callable[[], float] = time.time,
    ) -> None:
        self._actions = actions
        self._specials = specials
        self._view = view
        self._on_call = on_call
        self._secret = secret
        self._slack = slack
        self._candidates = candidates
        self._now = now

    def add_routes(self, router: web.UrlDispatcher) -> None:
        """Register the endpoints."""
        router.add_get("/api/v1/incidents/{id}/response", self.show)
        router.add_post("/api/v1/incidents/{id}/{action}", self.act)
        router.add_post("/api/v1/feedback", self.say)
        router.add_get("/api/v1/on-call", self.on_call)
        router.add_get(FEEDBACK_ROUTE, self.ask)
        router.add_post(FEEDBACK_ROUTE, self.confirm)
        router.add_post(INTERACTIONS_PATH, self._slack.handle)

    async def show(self, request: web.Request) -> web.Response:
        """What was done about an incident: status, people, timeline, similar ones of the past."""
        found = await self._view(request.match_info["id"])
        if found is None:
            raise web.HTTPNotFound(reason="no incident of that id; see /api/v1/incidents")
        return _success(found)

    async def on_call(self, _: web.Request) -> web.Response:
        """Who is on call now, by schedule."""
        return _success(self._on_call())

    async def act(self, request: web.Request) -> web.Response:
        """One action of a person or a tool."""
        body = await _body(request, Request)
        incident_id, action = request.match_info["id"], request.match_info["action"]
        actor = request.get(ACTOR, body.by)
        try:
            special = self._specials.get(action)
            if special is not None:
                return _success(await special(incident_id, actor, body.text))
            if action not in ACTIONS:
                raise web.HTTPNotFound(reason=unknown(action, [*ACTIONS, *self._specials]))
            return _success(await self._actions.do(incident_id, action, actor=actor, text=body.text))
        except KeyError:
            raise web.HTTPNotFound(reason="no incident of that id; see /api/v1/incidents") from None
        except ActionError as error:
            raise web.HTTPConflict(reason=" ".join(str(error).split())) from error

    async def say(self, request: web.Request) -> web.Response:
        """A verdict on an incident."""
        body = await _body(request, Said)
        try:
            n_rules = await self._actions.say(
                body.incident_id, body.verdict, actor=request.get(ACTOR, body.by) or "somebody", of=body.of
            )
        except KeyError:
            raise web.HTTPNotFound(reason="no incident of that id; see /api/v1/incidents") from None
        except ActionError as error:
            raise web.HTTPBadRequest(reason=str(error)) from error
        return _success({"rows": n_rules})

    async def ask(self, request: web.Request) -> web.Response:
        """The page behind a link: a button. What fetches links by itself (mail scanners) presses none."""
        link = self._link(request)
        choice = ""
        if link.verdict == "duplicate":
            choice = "".join(
                CHOICE.format(id=html.escape(one.incident_id), title=html.escape(one.title))
                for one in self._candidates(link.incident_id)
            )
        text = f"Incident {link.incident_id}" + (", of which of these, if you know?" if choice else "")
        return _page(WORDS[link.verdict], text, form=FORM.format(choice=choice))

    async def confirm(self, request: web.Request) -> web.Response:
        """The button was pressed."""
        link = self._link(request)
        of = ""
        if link.verdict == "duplicate" and request.content_type == "application/x-www-form-urlencoded":
            of = str((await request.post()).get("of", ""))
        try:
            await self._actions.say(link.incident_id, link.verdict, actor=f"link:{link.target}", of=of)
        except KeyError:
            return _page("That incident is no longer stored.", "", status=404)
        except ActionError as error:
            return _page("This cannot be kept.", f"{error}.", status=409)
        except StoreError:
            return _page("This could not be kept now.", "Go back in a minute and say it again.", status=503)
        return _page("Thank you.", f"Kept for incident {link.incident_id}: {link.verdict.replace('_', ' ')}")

    def _link(self, request: web.Request) -> Link:
        try:
            link = verify(request.match_info["token"], secret=self._secret, now=self._now())
        except LinkError as error:
            raise web.HTTPForbidden(text=f"{error}\n") from error
        if link.verdict not in VERDICTS:
            raise web.HTTPForbidden(text="this link says nothing that is known\n")
        return link


def view_of(
    status: str, response: Response | None, timeline: list[TimelineEntry], similar: list[Any]
) -> dict[str, Any]:
    """What `GET …/response` shows."""
    return {"status": status, "response": response, "timeline": timeline, "similar": similar}


async def _body(request: web.Request, kind: Any) -> Any:
    """The JSON body. Its content type is asked for, since a foreign page's form cannot state it."""
    if request.content_type != "application/json":
        raise web.HTTPUnsupportedMediaType(reason="send JSON with Content-Type: application/json")
    try:
        raw = await body_of(request, most_bytes=MAX_BODY)
    except TooLarge:
        raise web.HTTPRequestEntityTooLarge(MAX_BODY) from None
    except ValueError as error:
        raise web.HTTPBadRequest(reason=f"body cannot be unpacked: {error}") from error
    try:
        return msgspec.json.decode(raw or b"{}", type=kind)
    except UNREADABLE as error:
        raise web.HTTPBadRequest(reason=" ".join(str(error).split())) from error


def _success(data: Any) -> web.Response:
    body = msgspec.json.encode({"status": "success", "data": data})
    return web.Response(body=body, content_type="application/json")


def _page(title: str, text: str, *, form: str = "", status: int = 200) -> web.Response:
    page = PAGE.format(opening=opening(title), title=html.escape(title), text=html.escape(text), form=form)
    headers = {"Content-Security-Policy": POLICY, "Cache-Control": "no-store"}
    return web.Response(text=page, status=status, content_type="text/html", headers=headers)
