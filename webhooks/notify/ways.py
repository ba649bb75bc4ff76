"""The ways out: a generic webhook, and everything that apprise knows."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Any, Protocol, Self
from urllib.parse import urlsplit

import aiohttp
import msgspec

from sidecar.errors import NotifyError

TIMEOUT_SECONDS = 15.0
RETRIED = frozenset({408, 425, 429})


class Way(Protocol):
    """One target."""

    async def send(self, document: dict[str, Any]) -> None:
        """Deliver a message.

        Raises: NotifyError.
        """
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...


def way_of(url: str) -> Way:
    """The way that a URL asks for: http(s) is the generic webhook, all else is apprise's."""
    return Webhook(url) if url.startswith(("http://", "https://")) else Apprise(url)


class Webhook:
    """POST of the JSON document; 2xx is delivered, 5xx, 408, 425 and 429 are tried again."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def send(self, document: dict[str, Any]) -> None:
        """Deliver a message.

        Raises: NotifyError.
        """
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT_SECONDS))
        headers = {"Content-Type": "application/json", "Idempotency-Key": str(document["idempotency_key"])}
        try:
            async with self._session.post(
                self._url, data=msgspec.json.encode(document), headers=headers, allow_redirects=False
            ) as response:
                status = response.status
        except (aiohttp.ClientError, TimeoutError) as error:
            what = str(error) or type(error).__name__
            raise NotifyError(f"{_where(self._url)}: {what}", retryable=True) from error
        if not 200 <= status < 300:
            retryable = status >= 500 or status in RETRIED
            raise NotifyError(f"{_where(self._url)}: status {status}", retryable=retryable)

    async def close(self) -> None:
        """Let go of connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None


class Apprise:
    """Any of apprise's services, by its URL; see its list at https://github.com/caronc/apprise/wiki."""

    def __init__(self, url: str) -> None:
        self._url = url

    async def send(self, document: dict[str, Any]) -> None:
        """Deliver a message.

        Raises: NotifyError.
        """
        delivered = await asyncio.to_thread(self._send_now, document)
        if not delivered:
            # Apprise says yes or no, not why; what is wrong for good ends by its age.
            raise NotifyError(f"{self._url.partition(':')[0]}: apprise did not deliver", retryable=True)

    def _send_now(self, document: dict[str, Any]) -> bool:
        try:
            import apprise
        except ImportError as error:
            raise NotifyError("apprise is not installed", retryable=False) from error
        sender = apprise.Apprise()
        if not sender.add(self._url):
            scheme = self._url.partition(":")[0]
            raise NotifyError(f"{scheme}: apprise does not know this kind of URL", retryable=False)
        kind = {"resolved": apprise.NotifyType.SUCCESS, "merged": apprise.NotifyType.INFO}.get(
            str(document["kind"]), apprise.NotifyType.WARNING
        )
        return bool(sender.notify(title=document["title"], body=document["text"], notify_type=kind))

    async def close(self) -> None:
        """Nothing is held."""


def _where(url: str) -> str:
    """Scheme and host only: the rest of a webhook's URL is often its secret."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{(parts.hostname or '')}" + (f":{parts.port}" if parts.port else "")
