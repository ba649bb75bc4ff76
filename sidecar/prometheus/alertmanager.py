"""A small client of Alertmanager's API v2: what it has, what it mutes, what it is sent."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Any, Self

import msgspec

from sidecar.config.model import AlertmanagerConfig
from sidecar.errors import PullError, PullReason
from sidecar.prometheus.session import PullMetrics, Session, SessionSettings

LARGE_BYTES = 100_000
"""What is larger is decoded in a thread, entry by entry: at once, fifty thousand alerts would hold the
interpreter's lock, and so every request that we serve, for half a second."""

UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_entry = msgspec.json.Decoder(dict[str, Any]).decode


class AlertmanagerClient:
    """One Alertmanager. Use as `async with`."""

    def __init__(self, config: AlertmanagerConfig, *, metrics: PullMetrics) -> None:
        self._session = Session(
            SessionSettings(
                url=config.url,
                http=config.http,
                timeout_seconds=config.timeout,
                retries=2,
                max_concurrent=2,  # Over eight at once Alertmanager answers 503.
                breaker_failures=5,
                breaker_cooldown_seconds=30.0,
            ),
            metrics,
        )

    async def __aenter__(self) -> Self:
        await self._session.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.__aexit__(kind, error, trace)

    async def status(self) -> dict[str, Any]:
        """Version, cluster state and configuration.

        Raises: PullError.
        """
        return await self._json("/api/v2/status", dict[str, Any])

    async def alerts(self) -> list[dict[str, Any]]:
        """Every alert it holds, muted ones included.

        Raises: PullError.
        """
        return await self._list("/api/v2/alerts")

    async def silences(self) -> list[dict[str, Any]]:
        """Every silence, expired ones included.

        Raises: PullError.
        """
        return await self._list("/api/v2/silences")

    async def put_silence(self, silence: dict[str, Any]) -> str:
        """Make a silence, or change the one whose `id` it names; its id, which a change may make a new one.

        Raises: PullError. Not tried again by itself: there is no key that would tell a repeated
        request from a second one, so look for the silence before asking again.
        """
        answer = await self._json("/api/v2/silences", dict[str, Any], body=silence)
        return str(answer.get("silenceID", ""))

    async def expire_silence(self, silence_id: str) -> None:
        """End a silence now; one that has ended stays so. Raises: PullError."""
        await self._session.fetch("DELETE", f"/api/v2/silence/{silence_id}", api="alertmanager")

    async def post_alerts(self, alerts: list[dict[str, Any]]) -> None:
        """Send alerts, as Prometheus does; the same labels again are the same alert. Raises: PullError."""
        await self._session.fetch(
            "POST",
            "/api/v2/alerts",
            api="alertmanager",
            body=msgspec.json.encode(alerts),
            headers={"Content-Type": "application/json"},
        )

    async def _list(self, path: str) -> list[dict[str, Any]]:
        answer = await self._session.fetch("GET", path, api="alertmanager")
        try:
            if len(answer) > LARGE_BYTES:
                return await asyncio.to_thread(_entries, answer)
            return _entries(answer)
        except UNREADABLE as error:
            raise PullError(PullReason.BAD_RESPONSE, f"{path}: {error}") from error

    async def _json(self, path: str, kind: Any, *, body: Any = None) -> Any:
        answer = await self._session.fetch(
            "GET" if body is None else "POST",
            path,
            api="alertmanager",
            body=None if body is None else msgspec.json.encode(body),
            headers=None if body is None else {"Content-Type": "application/json"},
            retry=body is None,
        )
        try:
            return msgspec.json.decode(answer, type=kind)
        except UNREADABLE as error:
            raise PullError(PullReason.BAD_RESPONSE, f"{path}: {error}") from error


def _entries(answer: bytes) -> list[dict[str, Any]]:
    return [_entry(raw) for raw in msgspec.json.decode(answer, type=list[msgspec.Raw])]
