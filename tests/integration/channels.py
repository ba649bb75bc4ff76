"""Local servers that speak what Slack, PagerDuty and a mail server document, and that can fail on demand."""

from __future__ import annotations

import asyncio
import hmac
import itertools
import json
import threading
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from email import message_from_bytes
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from tests.integration.servers import free_port, http

SIGNING_SECRET = "hush-signing"

Fault = Callable[[str], "tuple[int, dict[str, str], Any] | None"]
"""Asked before each request with its path; its answer (status, headers, JSON) takes the usual one's place."""


def decoded(raw: bytes, kind: str) -> Any:
    """A request's body as its content type has it."""
    if kind == "application/octet-stream":
        return raw
    if kind == "application/x-www-form-urlencoded":
        return dict(parse_qsl(raw.decode()))
    return json.loads(raw or b"{}")


class LocalServer:
    """One HTTP server on loopback; `fault` and `after` are hooks of a test."""

    log = "requests"

    def __init__(self) -> None:
        self.fault: Fault = lambda _: None
        self.after: Callable[[str], None] = lambda _: None
        self.lock = threading.Lock()
        self.requests: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                parts = urlsplit(self.path)
                found = outer.fault(parts.path)
                if found is None:
                    body = decoded(raw, self.headers.get("Content-Type", ""))
                    with outer.lock:
                        found = outer.answer(parts.path, parts.query, body, self.headers)
                    outer.after(parts.path)
                status, headers, document = found
                outer.requests.append(f"{parts.path} {status} {document}")
                data = json.dumps(document).encode()
                try:
                    self.send_response(status)
                    for name, value in {**headers, "Content-Length": str(len(data))}.items():
                        self.send_header(name, value)
                    self.end_headers()
                    self.wfile.write(data)
                except OSError:
                    pass  # The other side was killed meanwhile.

            do_GET = do_POST

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def answer(self, path: str, query: str, body: Any, headers: Any) -> tuple[int, dict[str, str], Any]:
        raise NotImplementedError

    def tail(self) -> str:
        return "\n".join(self.requests[-50:])

    def kill(self) -> None:
        self.server.shutdown()
        self.server.server_close()


class SlackServer(LocalServer):
    """The methods of chat, conversations and files that pronoia calls, of one channel."""

    def __init__(self, token: str = "xoxb-test", channel: str = "C0TEST") -> None:
        self.token, self.channel = token, channel
        self.messages: list[dict[str, Any]] = []
        self.pictures: list[tuple[str, bytes]] = []
        """Shown in a thread: its time stamp, and the file."""
        self._uploads: dict[str, bytes] = {}
        self._serial = itertools.count(1)
        super().__init__()

    def target(self) -> dict[str, Any]:
        """What a configuration says of it."""
        slack = {
            "token": self.token,
            "channel": self.channel,
            "signing_secret": SIGNING_SECRET,
            "api_url": self.url + "/api",
        }
        return {"name": "slack", "slack": slack, "min_priority": "P3"}

    @property
    def roots(self) -> list[dict[str, Any]]:
        return [message for message in self.messages if "thread_ts" not in message]

    @property
    def replies(self) -> list[dict[str, Any]]:
        return [message for message in self.messages if "thread_ts" in message]

    def answer(self, path: str, query: str, body: Any, headers: Any) -> tuple[int, dict[str, str], Any]:
        def refuse(word: str) -> tuple[int, dict[str, str], Any]:
            return 200, {}, {"ok": False, "error": word}

        if path.startswith("/upload/"):
            self._uploads[path.rpartition("/")[2]] = body
            return 200, {}, {}
        if headers.get("Authorization") != f"Bearer {self.token}":
            return refuse("invalid_auth")
        method = path.rpartition("/")[2]
        if method == "files.getUploadURLExternal":
            name = f"F{next(self._serial)}"
            self._uploads[name] = b"?" * int(body["length"])
            return 200, {}, {"ok": True, "upload_url": f"{self.url}/upload/{name}", "file_id": name}
        if method == "files.completeUploadExternal":
            if body["channel_id"] != self.channel:
                return refuse("channel_not_found")
            self.pictures += [(body["thread_ts"], self._uploads[one["id"]]) for one in body["files"]]
            return 200, {}, {"ok": True, "files": body["files"]}
        arguments = {**{name: values[0] for name, values in parse_qs(query).items()}, **body}
        if arguments.get("channel") != self.channel:
            return refuse("channel_not_found")
        if method == "chat.postMessage":
            ts = f"{int(time.time())}.{next(self._serial):06d}"
            self.messages.append({**body, "ts": ts})
            return 200, {}, {"ok": True, "channel": self.channel, "ts": ts}
        if method == "chat.update":
            for message in self.messages:
                if message["ts"] == arguments["ts"]:
                    message.update(body)
                    return 200, {}, {"ok": True, "channel": self.channel, "ts": message["ts"]}
            return refuse("message_not_found")
        if method == "conversations.history":
            return 200, {}, {"ok": True, "messages": list(reversed(self.roots))}
        if method == "conversations.replies":
            found = [m for m in self.messages if arguments["ts"] in (m["ts"], m.get("thread_ts"))]
            return 200, {}, {"ok": True, "messages": found}
        return refuse("unknown_method")


class PagerDutyServer(LocalServer):
    """/v2/enqueue: alerts by dedup key, as PagerDuty keeps them; what is done to them is told by webhooks."""

    WEBHOOK_SECRET = "hush-webhook"

    def __init__(self, routing_key: str = "R" * 32) -> None:
        self.routing_key = routing_key
        self.events: list[dict[str, Any]] = []
        self.alerts: dict[str, str] = {}
        self.pages = 0
        super().__init__()

    def target(self) -> dict[str, Any]:
        """What a configuration says of it."""
        secret = {"webhook_secret": self.WEBHOOK_SECRET}
        pager = {"routing_key": self.routing_key, "api_url": self.url, **secret}
        return {"name": "pager", "pagerduty": pager, "min_priority": "P3"}

    def answer(self, path: str, query: str, body: Any, headers: Any) -> tuple[int, dict[str, str], Any]:
        whole = body.get("event_action") != "trigger" or (
            {"summary", "source", "severity"} <= set(body.get("payload", {}))
            and body["payload"]["severity"] in ("critical", "error", "warning", "info")
        )
        if path != "/v2/enqueue" or body.get("routing_key") != self.routing_key or not whole:
            return (
                400,
                {},
                {"status": "invalid event", "errors": ["no such integration, or a field is missing"]},
            )
        self.events.append(body)
        key, action = body["dedup_key"], body["event_action"]
        if action == "trigger" and self.alerts.get(key) in (None, "resolved"):
            self.pages += 1
            self.alerts[key] = "triggered"
        elif action != "trigger" and key in self.alerts:
            self.alerts[key] = {"acknowledge": "acknowledged", "resolve": "resolved"}[action]
        return 202, {}, {"status": "success", "message": "Event processed", "dedup_key": key}

    def tell(self, url: str, kind: str, *, agent: dict[str, str], secret: str = WEBHOOK_SECRET) -> int:
        """Send a V3 webhook about the only incident, as while its secret is replaced; the answer's status."""
        (key,) = self.alerts
        event = {
            "id": f"01B{time.time_ns()}",
            "event_type": f"incident.{kind}",
            "resource_type": "incident",
            "occurred_at": datetime.now(UTC).isoformat(timespec="microseconds"),
            "agent": agent,
            "client": None,
            "data": {"id": "PGR0VU2", "type": "incident", "status": kind, "incident_key": key},
        }
        body = json.dumps({"event": event}).encode()
        signed = [f"v1={hmac.new(one.encode(), body, 'sha256').hexdigest()}" for one in ("next", secret)]
        headers = {"Content-Type": "application/json", "X-PagerDuty-Signature": ",".join(signed)}
        return http(f"{url}/webhooks/pagerduty", data=body, headers=headers)[0]


class MailServer:
    """A real SMTP server; a mail with a Message-ID that it has is the same mail, as mail stores treat it.

    `at` is a hook of a test, asked at each step (recipient, data, kept) whether it is to fail.
    """

    log = "mails"

    def __init__(self) -> None:
        self.mails: dict[str, Message] = {}
        self.copies: Counter[str] = Counter()
        self.refusals: list[str] = []
        self.at: Callable[[str], bool] = lambda _: False
        outer = self

        class Handler:
            async def handle_RCPT(
                self, _: SMTP, __: Session, envelope: Envelope, address: str, ___: list[str]
            ) -> str:
                if await asyncio.to_thread(outer.at, "recipient"):
                    return "451 4.3.0 later"
                envelope.rcpt_tos.append(address)
                return "250 OK"

            async def handle_DATA(self, _: SMTP, __: Session, envelope: Envelope) -> str:
                if await asyncio.to_thread(outer.at, "data"):
                    return "451 4.3.0 later"
                if outer.refusals:
                    return outer.refusals.pop(0)
                mail = message_from_bytes(bytes(envelope.content or b""))
                outer.mails[str(mail["Message-ID"])] = mail
                outer.copies[str(mail["Message-ID"])] += 1
                await asyncio.to_thread(outer.at, "kept")
                return "250 OK"

        self.port = free_port()
        self._controller = Controller(Handler(), hostname="127.0.0.1", port=self.port)
        self._controller.start()

    def target(self) -> dict[str, Any]:
        """What a configuration says of it."""
        mail = {
            "server": f"127.0.0.1:{self.port}",
            "sender": "pronoia@example.com",
            "to": ["ops@example.com"],
            "tls": "none",
        }
        return {"name": "mail", "email": mail, "min_priority": "P3"}

    @property
    def subjects(self) -> list[str]:
        return [str(mail["Subject"]) for mail in self.mails.values()]

    def tail(self) -> str:
        return "\n".join(self.subjects)

    def kill(self) -> None:
        self._controller.stop(no_assert=True)
