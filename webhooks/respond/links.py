"""Signed links: what a message lets people say without a login, and nothing else."""

from __future__ import annotations

import base64
import hmac
from dataclasses import dataclass

from sidecar.errors import SidecarError

VALID_SECONDS = 14 * 86400
MAC_BYTES = 16


class LinkError(SidecarError):
    """A link that is not ours, was changed, or is too old."""

    reason = "link"


@dataclass(frozen=True, slots=True)
class Link:
    """What a link says: of which incident, which verdict, and through which target it went."""

    incident_id: str
    verdict: str
    target: str


def sign(link: Link, *, secret: bytes, expires_at: int) -> str:
    """The token of a link, good until `expires_at` (seconds)."""
    text = "\n".join((link.incident_id, link.verdict, link.target, str(expires_at))).encode()
    return _text(text) + "." + _text(_mac(text, secret))


def verify(token: str, *, secret: bytes, now: float) -> Link:
    """What a token says.

    Raises: LinkError.
    """
    body, _, mac = token.partition(".")
    try:
        text, given = _bytes(body), _bytes(mac)
        incident_id, verdict, target, expires = text.decode().split("\n")
        expires_at = int(expires)
    except (ValueError, UnicodeError) as error:
        raise LinkError("this is no link of pronoia's") from error
    if not hmac.compare_digest(given, _mac(text, secret)):
        raise LinkError("this link was not made here, or was changed")
    if now > expires_at:
        raise LinkError("this link is too old")
    return Link(incident_id, verdict, target)


def _mac(text: bytes, secret: bytes) -> bytes:
    return hmac.digest(secret, b"pronoia-link-1\n" + text, "sha256")[:MAC_BYTES]


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _bytes(text: str) -> bytes:
    return base64.urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
