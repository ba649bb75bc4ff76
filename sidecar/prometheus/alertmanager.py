"""A small client of Alertmanager's API v2: what it has, and what it mutes."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

import msgspec

from sidecar.config.model import AlertmanagerConfig
from sidecar.errors import PullError, PullReason
from sidecar.prometheus.session import PullMetrics, Session, SessionSettings


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
        return await self._json("/api/v2/alerts", list[dict[str, Any]])

    async def silences(self) -> list[dict[str, Any]]:
        """Every silence, expired ones included.

        Raises: PullError.
        """
        return await self._json("/api/v2/silences", list[dict[str, Any]])

    async def _json(self, path: str, kind: Any) -> Any:
        body = await self._session.fetch("GET", path, api="alertmanager")
        try:
            return msgspec.json.decode(body, type=kind)
        except msgspec.DecodeError as error:
            raise PullError(PullReason.BAD_RESPONSE, f"{path}: {error}") from error
