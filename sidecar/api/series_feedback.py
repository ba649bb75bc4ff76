"""`/api/v1/series-feedback`: what people say of series' anomalies, what comes of it, and taking it back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol

import msgspec
from aiohttp import web

from sidecar.api.server import error_answer, json_answer
from webhooks.intake.packing import TooLarge, body_of
from webhooks.intake.payload import UNREADABLE
from webhooks.respond.http import ACTOR

MAX_BODY = 16 * 1024


class Said(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a verdict."""

    query: str
    fingerprint: str
    verdict: Literal["noise", "useful"]
    by: str = ""


class Listener(Protocol):
    """What heeds verdicts. Every call may raise StoreError."""

    async def say(self, query: str, fingerprint: str, verdict: str, actor: str) -> Mapping[str, Any]:
        """Keep a verdict on the open or else the newest anomaly of a series; what comes of it.

        Raises: KeyError where there is no such series, or it had no anomaly.
        """
        ...

    async def said(self) -> Sequence[Mapping[str, Any]]:
        """Every verdict that was not taken back, the newest first, with what comes of all on its series."""
        ...

    async def take_back(self, verdict_id: int) -> bool:
        """Forget a verdict; False where there is none of that id."""
        ...


class SeriesFeedback:
    """The endpoints."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener

    def add_routes(self, router: web.UrlDispatcher) -> None:
        """Register the endpoints."""
        router.add_get("/api/v1/series-feedback", self.said)
        router.add_post("/api/v1/series-feedback", self.say)
        router.add_post("/api/v1/series-feedback/{id}/undo", self.take_back)

    async def said(self, _: web.Request) -> web.Response:
        """What was said, and what came of it."""
        return json_answer(await self._listener.said())

    async def say(self, request: web.Request) -> web.Response:
        """A verdict."""
        if request.content_type != "application/json":
            return _not_json()
        try:
            raw = await body_of(request, most_bytes=MAX_BODY)
        except TooLarge:
            return error_answer(413, "bad_data", f"a verdict has at most {MAX_BODY} bytes")
        except ValueError as error:
            return error_answer(400, "bad_data", f"body cannot be unpacked: {error}")
        try:
            body = msgspec.json.decode(raw, type=Said)
        except UNREADABLE as error:
            return error_answer(400, "bad_data", " ".join(str(error).split()))
        try:
            found = await self._listener.say(
                body.query, body.fingerprint, body.verdict, request.get(ACTOR, body.by) or "somebody"
            )
        except KeyError:
            return error_answer(
                404, "not_found", "no such series is watched, or it had no anomaly; see /api/v1/explanations"
            )
        return json_answer(found)

    async def take_back(self, request: web.Request) -> web.Response:
        """Take a verdict back."""
        if request.content_type != "application/json":
            return _not_json()
        text = request.match_info["id"]
        if not (text.isascii() and text.isdigit() and len(text) < 19):
            return error_answer(400, "bad_data", f"id is {text[:40]!r}; write a whole number")
        if not await self._listener.take_back(int(text)):
            return error_answer(404, "not_found", "no verdict of that id; see /api/v1/series-feedback")
        return json_answer({"taken_back": int(text)})


def _not_json() -> web.Response:
    """JSON is asked for, since a foreign page's form cannot state it."""
    return error_answer(415, "bad_data", "send JSON with Content-Type: application/json")
