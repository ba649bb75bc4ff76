"""Everything that apprise knows: a hundred services behind one address format."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from sidecar.errors import NotifyError
from webhooks.notify.channel import Outgoing


class Apprise:
    """Any of apprise's services, by its URL; see its list at https://github.com/caronc/apprise/wiki."""

    def __init__(self, url: str, timeout_seconds: float) -> None:
        self._url = url
        self._timeout = timeout_seconds

    async def send(self, outgoing: Outgoing) -> dict[str, str]:
        """Deliver a message.

        Raises: NotifyError.
        """
        await outgoing.doubt(True)
        try:
            async with asyncio.timeout(self._timeout):
                delivered = await asyncio.to_thread(self._send_now, outgoing.document, outgoing.picture)
        except NotifyError:
            await outgoing.doubt(False)
            raise
        except TimeoutError as error:
            # The thread runs on to its own end: what it does is in doubt.
            raise NotifyError(f"{self._url.partition(':')[0]}: no answer", retryable=True) from error
        if not delivered:
            # Apprise says yes or no, not why; what is wrong for good ends by its age.
            raise NotifyError(f"{self._url.partition(':')[0]}: apprise did not deliver", retryable=True)
        return {}

    def _send_now(self, document: Mapping[str, Any], picture: bytes | None) -> bool:
        try:
            import apprise
            from apprise.attachment.memory import AttachMemory
        except ImportError as error:
            raise NotifyError("apprise is not installed", retryable=False) from error
        sender = apprise.Apprise()
        if not sender.add(self._url):
            scheme = self._url.partition(":")[0]
            raise NotifyError(f"{scheme}: apprise does not know this kind of URL", retryable=False)
        kind = {"resolved": apprise.NotifyType.SUCCESS, "merged": apprise.NotifyType.INFO}.get(
            str(document["kind"]), apprise.NotifyType.WARNING
        )
        takes = picture is not None and all(service.attachment_support for service in sender)
        shown = AttachMemory(picture, name="series.png", mimetype="image/png") if takes else None  # type: ignore[no-untyped-call]
        return bool(
            sender.notify(
                title=document["title"],
                body=document["text"],
                notify_type=kind,
                attach=shown,
            )
        )

    async def close(self) -> None:
        """Nothing is held."""
