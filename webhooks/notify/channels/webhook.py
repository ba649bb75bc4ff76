"""The generic webhook: the whole document as JSON."""

from __future__ import annotations

import msgspec

from webhooks.notify.channel import Outgoing, Poster


class Webhook:
    """POST of the JSON document; 2xx is delivered. The key tells the receiver of a repeated try."""

    def __init__(self, url: str, timeout_seconds: float) -> None:
        self._url = url
        self._poster = Poster(timeout_seconds)

    async def send(self, outgoing: Outgoing) -> dict[str, str]:
        """Deliver a message.

        Raises: NotifyError.
        """
        key = str(outgoing.document["idempotency_key"])
        body = msgspec.json.encode(outgoing.document)
        await self._poster.post(self._url, body=body, headers={"Idempotency-Key": key})
        return {}

    async def close(self) -> None:
        """Let go of connections."""
        await self._poster.close()
