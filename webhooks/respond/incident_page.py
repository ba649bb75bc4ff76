"""`/incidents/{id}`: one incident as a page for people, which needs no script to be read."""

from __future__ import annotations

import asyncio
import html
from base64 import b64encode
from collections.abc import Awaitable, Callable
from hashlib import sha256

from aiohttp import web

from sidecar.errors import StoreError
from sidecar.records import Incident
from webhooks.respond.document import POLICY, Report, opening

ROUTE = "/incidents/{id}"
HEADERS = {"Content-Security-Policy": POLICY, "Cache-Control": "no-store"}
ALL = '<nav><a href="../">all incidents</a></nav>'

# Said in JSON, which no form of another site's page can send; the browser adds the reader's credentials.
SCRIPT = """
"use strict";
const place = document.getElementById("act");
place.hidden = false;
place.addEventListener("submit", async (event) => {
  event.preventDefault();
  const told = document.getElementById("told");
  told.textContent = "asking…";
  try {
    const answer = await fetch(place.dataset.url, { method: "POST",
      headers: { "Content-Type": "application/json" }, body: JSON.stringify({ by: place.by.value }) });
    const said = await answer.json().catch(() => ({}));
    if (answer.ok) location.reload();
    else told.textContent = "not done: " + (said.error || "status " + answer.status);
  } catch {
    told.textContent = "not done: no answer; try again";
  }
});
"""
ACTING_HEADERS = {
    **HEADERS,
    "Content-Security-Policy": f"{POLICY}; connect-src 'self'; script-src "
    f"'sha256-{b64encode(sha256(SCRIPT.encode()).digest()).decode()}'",
}
ACTION = (
    '<form id="act" data-url="../api/v1/incidents/{id}/{action}" hidden>'
    '<label>Your name <input name="by" autocomplete="name"></label> '
    '<button type="submit">{words}</button> <span id="told" role="status"></span></form>'
)
OFFERED = {
    "open": ("acknowledge", "Take it on"),
    "reopened": ("acknowledge", "Take it on"),
    "acknowledged": ("unacknowledge", "Give it back"),
}
"""What may be done here, by status; the rest is for Slack, the API and the command line."""

Told = Callable[[str], Awaitable[tuple[Incident, str, Callable[[], Report]] | None]]
"""By an id the incident, its status, and what makes its report; None where there is none of that id."""


class IncidentPage:
    """What the links of messages and of the front page lead to."""

    def __init__(self, told: Told) -> None:
        self._told = told

    def add_routes(self, router: web.UrlDispatcher) -> None:
        """Register the endpoint."""
        router.add_get(ROUTE, self.show)

    async def show(self, request: web.Request) -> web.Response:
        """The incident; of one that went into another, that one."""
        try:
            found = await self._told(request.match_info["id"])
        except StoreError as error:
            return _words("The database does not answer.", f"{error}. Try again in a minute.", status=503)
        if found is None:
            return _words("No such incident.", "It may be older than what is kept.", status=404)
        incident, status, report = found
        if incident.merged_into is not None:
            raise web.HTTPFound(incident.merged_into)
        # A storm has thousands of alerts, and the loop has others to serve.
        page = await asyncio.to_thread(lambda: report().page(above=ALL, below=_action(incident, status)))
        if status not in OFFERED:
            return web.Response(text=page, content_type="text/html", headers=HEADERS)
        page += f"<script>{SCRIPT}</script>"
        return web.Response(text=page, content_type="text/html", headers=ACTING_HEADERS)


def _action(incident: Incident, status: str) -> str:
    if status not in OFFERED:
        return ""
    action, words = OFFERED[status]
    return ACTION.format(id=html.escape(incident.incident_id), action=action, words=words)


def _words(title: str, text: str, *, status: int) -> web.Response:
    page = f"{opening(title)}{ALL}<h1>{html.escape(title)}</h1><p>{html.escape(text)}</p></html>"
    return web.Response(text=page, status=status, content_type="text/html", headers=HEADERS)
