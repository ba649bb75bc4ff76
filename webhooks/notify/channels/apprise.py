"""Everything that apprise knows: a hundred services behind one address format."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from sidecar.errors import NotifyError
from webhooks.notify.channel import Outgoing
from webhooks.notify.policy import ENDED

_MENTION = re.compile(r"@(?=(everyone|here|channel|all)\b)|<(?=[@!#])", re.IGNORECASE)
AT_ONCE = 4
"""As many as the sender has under way to one target."""


class Apprise:
    """Any of apprise's services, by its URL; see its list at https://github.com/caronc/apprise/wiki."""

    def __init__(self, url: str, timeout_seconds: float) -> None:
        self._url = url
        self._timeout = timeout_seconds
        # Threads of its own: those that hang in a service that hangs must not be anybody else's.
        self._threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="apprise")

    async def send(self, outgoing: Outgoing) -> dict[str, str]:
        """Deliver a message.

        Raises: NotifyError.
        """
        await outgoing.doubt(True)
        try:
            async with asyncio.timeout(self._timeout):
                delivered = await asyncio.get_running_loop().run_in_executor(
                    self._threads, self._send_now, outgoing.document, outgoing.picture
                )
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
        for service in sender:
            if "overflow=" not in self._url:
                # What is longer than a service takes it would refuse, again at every try.
                service.overflow_mode = apprise.OverflowMode.TRUNCATE
        # By the kind some services open and close alerts of their own: both ends are ends.
        ends = str(document["kind"]) in ENDED
        kind = apprise.NotifyType.SUCCESS if ends else apprise.NotifyType.WARNING
        takes = picture is not None and all(service.attachment_support for service in sender)
        shown = AttachMemory(picture, name="series.png", mimetype="image/png") if takes else None  # type: ignore[no-untyped-call]
        return bool(
            sender.notify(
                title=without_mentions(document["title"]),
                body=without_mentions(document["text"]),
                notify_type=kind,
                # Labels are anybody's: for services that speak HTML or Markdown they are escaped by this.
                body_format=apprise.NotifyFormat.TEXT,
                attach=shown,
            )
        )

    async def close(self) -> None:
        """Let go of the threads; one that hangs is not waited for."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def without_mentions(text: str) -> str:
    r"""Text that calls nobody in Discord, Mattermost and the like, looking the same: a label is anybody's.

    >>> ascii(without_mentions("@everyone, ops@example.com"))
    "'@\\u200beveryone, ops@example.com'"
    """
    return _MENTION.sub("\\g<0>\u200b", text)
