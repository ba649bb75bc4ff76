"""What every channel is: one way out, and what is handed to it."""

from __future__ import annotations

import email.utils
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import aiohttp
from pydantic import SecretStr

from sidecar.bodies import read_up_to
from sidecar.config.load import read_secret
from sidecar.errors import NotifyError

RETRIED = frozenset({408, 425, 429})
MAX_RETRY_AFTER_SECONDS = 3600.0
MAX_ANSWER_BYTES = 1 << 20


async def _unheard(_: bool) -> None:
    """Where nobody keeps what is in doubt."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One message on its way.

    `thread`: the receipt of the incident's first message here, empty where there is none.
    `uncertain`: an earlier try may have arrived; a channel that can find out looks before it sends.
    `made_at`: when it was decided, seconds since the epoch; the same at each try.
    `picture`: a PNG for channels that take pictures.
    `doubt`: for channels that cannot find out. Awaited with True before the moment from which a crash
    leaves open whether the message arrives, with False where it surely has not.
    """

    document: Mapping[str, Any]
    thread: Mapping[str, str] = field(default_factory=dict)
    uncertain: bool = False
    made_at: float = 0.0
    picture: bytes | None = None
    doubt: Callable[[bool], Awaitable[None]] = _unheard


class Channel(Protocol):
    """One target."""

    async def send(self, outgoing: Outgoing) -> dict[str, str]:
        """Deliver a message; what later messages of the incident need to refer to it.

        Raises: NotifyError.
        """
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...


class Poster:
    """POSTs to one service, with every outcome told as a `NotifyError`."""

    def __init__(self, timeout_seconds: float) -> None:
        self._timeout = timeout_seconds
        self._session: aiohttp.ClientSession | None = None

    async def post(
        self, url: str, *, body: bytes, headers: Mapping[str, str]
    ) -> tuple[Mapping[str, str], bytes]:
        """Headers and body of a 2xx answer.

        Raises: NotifyError; 5xx, 408, 425, 429 and broken connections are retryable, all else is not.
        """
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=self._timeout))
        try:
            async with self._session.post(
                url, data=body, headers={"Content-Type": "application/json", **headers}, allow_redirects=False
            ) as response:
                answer = await read_up_to(response.content, MAX_ANSWER_BYTES)
                status, told = response.status, dict(response.headers)
        except (aiohttp.ClientError, TimeoutError) as error:
            # The library says `ssl:default` of plain http, too.
            what = str(error).replace(" ssl:default", "") or type(error).__name__
            raise NotifyError(f"{where(url)}: {what}", retryable=True) from error
        if not 200 <= status < 300:
            raise NotifyError(
                f"{where(url)}: status {status}",
                retryable=status >= 500 or status in RETRIED,
                retry_after_seconds=retry_after(told.get("Retry-After", "")),
            )
        return told, answer

    async def close(self) -> None:
        """Let go of connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None


def secret_of(what: str, value: SecretStr | None, file: Path | None) -> str:
    """A channel's own secret.

    Raises: NotifyError, retryable: a file that is away or empty for a moment is about to be replaced.
    """
    try:
        secret = read_secret(value, file)
    except (OSError, ValueError) as error:
        raise NotifyError(f"{what} cannot be read: {error}", retryable=True) from error
    if not secret:
        raise NotifyError(f"{what} is empty", retryable=True)
    return secret


def retry_after(header: str) -> float | None:
    """Seconds that a `Retry-After` header asks for, at most an hour; None where it says nothing usable.

    A date that is over by our clock, like none at all, leaves it to the one who tries.

    >>> retry_after("30")
    30.0
    """
    if header.isdecimal():
        seconds = float(header)
    else:
        try:
            parsed = email.utils.parsedate_tz(header) if header else None
            seconds = email.utils.mktime_tz(parsed) - time.time() if parsed is not None else 0.0
        except (ValueError, OverflowError):
            seconds = 0.0  # The year 99999, and what else is no date.
    return min(seconds, MAX_RETRY_AFTER_SECONDS) if seconds > 0.0 else None


def where(url: str) -> str:
    """Scheme and host only: the rest of a webhook's URL is often its secret."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{(parts.hostname or '')}" + (f":{parts.port}" if parts.port else "")
