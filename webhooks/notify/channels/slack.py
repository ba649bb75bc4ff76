"""Slack by its Web API: one message an incident, updated in place, its story in the thread, buttons below."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode

import msgspec

from sidecar.config.channels import SlackConfig
from sidecar.errors import NotifyError
from sidecar.telemetry import get_logger
from webhooks.notify.channel import Outgoing, Poster, secret_of

# What Slack may yet accept; every other word is a fault that waiting does not mend.
# https://api.slack.com/methods/chat.postMessage#errors
TRANSIENT = frozenset(
    {"ratelimited", "rate_limited", "internal_error", "fatal_error", "service_unavailable", "request_timeout"}
)
GONE = frozenset({"message_not_found", "cant_update_message", "edit_window_closed"})
BLIND = frozenset({"missing_scope", "no_permission", "not_in_channel", "not_allowed_token_type"})
EVENT = "pronoia_message"
MAX_SECTION, MAX_HEADER, MAX_TEXT = 3000, 150, 4000
PICTURE = "series.png"
LOOK_BACK = 200
"""So many of the channel's newest messages are searched for one that may have arrived already."""

BUTTONS = (
    ("acknowledge", "Acknowledge", "primary"),
    ("mitigate", "Mitigated", None),
    ("noise", "Noise", None),
)
COLOURS = {"P0": "#b00020", "P1": "#d9480f", "P2": "#e0a800", "P3": "#5c7cfa"}
ENDED = "#2f9e44"


class Slack:
    """Posts, updates and replies. After a doubtful try it looks for its own mark before it posts again."""

    def __init__(self, config: SlackConfig, timeout_seconds: float) -> None:
        self._config = config
        self._poster = Poster(timeout_seconds)
        self._log = get_logger("slack")

    async def send(self, outgoing: Outgoing) -> dict[str, str]:
        """Deliver a message; `ts` and `channel` are what later ones update.

        Raises: NotifyError.
        """
        document = outgoing.document
        message = self._message(document)
        if outgoing.thread.get("ts"):
            thread = {name: outgoing.thread[name] for name in ("channel", "ts")}
            try:
                await self._call("chat.update", {**thread, **message})
            except _SlackRefused as refused:
                if refused.word not in GONE:
                    raise
            else:
                await self._reply(thread, document, uncertain=outgoing.uncertain)
                return thread
        if outgoing.uncertain:
            found = await self._find("conversations.history", {}, _mark(document))
            if found is not None:
                return {"channel": self._config.channel, "ts": found}
        answer = await self._call("chat.postMessage", {"channel": self._config.channel, **message})
        if not answer.get("ts"):
            return {}  # It is there; what comes later of it is posted beside it, since it has no name.
        thread = {"channel": str(answer.get("channel", self._config.channel)), "ts": str(answer["ts"])}
        if outgoing.picture is not None:
            await self._show(thread, outgoing.picture)
        return thread

    async def close(self) -> None:
        """Let go of connections."""
        await self._poster.close()

    def _message(self, document: Mapping[str, Any]) -> dict[str, Any]:
        ended = document["kind"] in ("resolved", "merged")
        colour = ENDED if ended else COLOURS.get(document["incident"]["priority"], COLOURS["P3"])
        blocks = blocks_of(document, buttons=self._config.interactive and not ended)
        return {
            "text": fitting(document["title"], MAX_TEXT),
            "attachments": [{"color": colour, "blocks": blocks}],
            "metadata": {"event_type": EVENT, "event_payload": {"key": _mark(document)}},
        }

    async def _reply(
        self, thread: Mapping[str, str], document: Mapping[str, Any], *, uncertain: bool
    ) -> None:
        if uncertain:
            found = await self._find("conversations.replies", {"ts": thread["ts"]}, _reply_mark(document))
            if found is not None:
                return
        await self._call(
            "chat.postMessage",
            {
                "channel": thread["channel"],
                "thread_ts": thread["ts"],
                "text": fitting(f"{document['title']}\n{document['text']}", MAX_TEXT),
                "metadata": {"event_type": EVENT, "event_payload": {"key": _reply_mark(document)}},
            },
        )

    async def _show(self, thread: Mapping[str, str], picture: bytes) -> None:
        """Put a picture into the thread. Without it the message is whole: what fails here is let be.

        Source: https://docs.slack.dev/messaging/working-with-files, uploading in three steps.
        """
        try:
            place = await self._call(
                "files.getUploadURLExternal", {"filename": PICTURE, "length": len(picture)}, form=True
            )
            await self._poster.post(
                str(place["upload_url"]), body=picture, headers={"Content-Type": "application/octet-stream"}
            )
            files = [{"id": str(place["file_id"]), "title": PICTURE}]
            await self._call(
                "files.completeUploadExternal",
                {"files": files, "channel_id": thread["channel"], "thread_ts": thread["ts"]},
            )
        except (NotifyError, KeyError) as error:
            self._log.warning("picture not shown", err=str(error))

    async def _find(self, method: str, arguments: Mapping[str, str], mark: str) -> str | None:
        """The time stamp of the message that bears our mark, or None."""
        query = {"channel": self._config.channel, "limit": str(LOOK_BACK), "include_all_metadata": "true"}
        try:
            answer = await self._call(f"{method}?{urlencode({**query, **arguments})}", {})
        except _SlackRefused as refused:
            if refused.word not in BLIND:
                raise
            return None  # Without the right to look, twice is better than never.
        for message in answer.get("messages") or []:
            payload = (message.get("metadata") or {}).get("event_payload") or {}
            if payload.get("key") == mark:
                return str(message["ts"])
        return None

    async def _call(self, method: str, arguments: Mapping[str, Any], *, form: bool = False) -> dict[str, Any]:
        token = secret_of("slack: the token", self._config.token, self._config.token_file)
        kind = "application/x-www-form-urlencoded" if form else "application/json; charset=utf-8"
        _, body = await self._poster.post(
            f"{self._config.api_url.rstrip('/')}/{method}",
            body=urlencode(arguments).encode() if form else msgspec.json.encode(arguments),
            headers={"Authorization": f"Bearer {token}", "Content-Type": kind},
        )
        try:
            answer = msgspec.json.decode(body, type=dict[str, Any])
        except msgspec.DecodeError as error:
            raise NotifyError(f"slack: {method.partition('?')[0]}: {error}", retryable=True) from error
        if not answer.get("ok"):
            raise _SlackRefused(method.partition("?")[0], str(answer.get("error", "unknown")))
        return answer


class _SlackRefused(NotifyError):
    """Slack's own word for what is wrong."""

    def __init__(self, method: str, word: str) -> None:
        super().__init__(f"slack: {method}: {word}", retryable=word in TRANSIENT)
        self.word = word


def _mark(document: Mapping[str, Any]) -> str:
    return str(document["idempotency_key"])


def _reply_mark(document: Mapping[str, Any]) -> str:
    return _mark(document) + "/reply"


def escape(text: str) -> str:
    """Text in which nothing is Slack's markup: an alert's label must not mention @channel.

    >>> escape("<!channel> a & b")
    '&lt;!channel&gt; a &amp; b'
    """
    return str(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def fitting(text: str, longest: int) -> str:
    """Escaped text of at most so many characters, never empty, never cut within an escape.

    >>> fitting("a<b", 4), fitting(" ", 9)
    ('a', '–')
    """
    whole = escape(text)
    if len(whole) > longest:
        whole = re.sub(r"&[a-z]{0,3}$", "", whole[:longest])
    return whole if whole.strip() else "–"


def link_to(href: str, text: str) -> str:
    """A link in Slack's markup; an address that an alert brought along must not end it, nor mention anybody.

    >>> link_to("http://x/?a=1&b|<!channel>", "run")
    '<http://x/?a=1&amp;b%7C%3C!channel%3E|run>'
    """
    address = quote(href, safe=":/?#[]@!$&'()*+,;=%~").replace("&", "&amp;")
    return f"<{address}|{escape(text).replace('|', '/')}>"


def blocks_of(document: Mapping[str, Any], *, buttons: bool) -> list[dict[str, Any]]:
    """Slack's blocks of a message (Block Kit); buttons carry the incident's id."""
    title = document["title"][:MAX_HEADER].strip() or "–"
    blocks: list[dict[str, Any]] = [
        {"type": "header", "text": {"type": "plain_text", "text": title}},
        {"type": "section", "text": _marked(fitting(document["text"], MAX_SECTION))},
    ]
    links = _links_of(document)
    if links:
        blocks.append({"type": "context", "elements": [_marked(links)]})
    if buttons:
        blocks.append(
            {"type": "actions", "block_id": "pronoia", "elements": [_button(document, *b) for b in BUTTONS]}
        )
    return blocks


def _marked(text: str) -> dict[str, Any]:
    # Verbatim: by itself Slack would make mentions of names in plain text, too.
    return {"type": "mrkdwn", "text": text, "verbatim": True}


def _links_of(document: Mapping[str, Any]) -> str:
    """The links in a row, as many as there is room for: half a link is markup gone wrong."""
    shown = ""
    for text, href in document.get("links", {}).items():
        longer = " · ".join(part for part in (shown, link_to(href, text)) if part) if href else shown
        if len(longer) <= MAX_SECTION:
            shown = longer
    return shown


def _button(document: Mapping[str, Any], action: str, text: str, style: str | None) -> dict[str, Any]:
    button = {
        "type": "button",
        "action_id": f"pronoia_{action}",
        "text": {"type": "plain_text", "text": text},
        "value": document["incident"]["incident_id"],
    }
    return {**button, "style": style} if style else button
