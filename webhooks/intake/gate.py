"""Who may send: credentials, signatures and client certificates of one receiver."""

from __future__ import annotations

import hmac
from base64 import b64encode
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from sidecar.config.load import read_secret
from sidecar.config.webhook import WebhookAuth


def allowed(auth: WebhookAuth, authorization: str, certificate: Mapping[str, Any] | None) -> bool:
    """Whether a sender shows what it must, before its body is read.

    `certificate`: the client's, as `ssl` gives it once it is verified; None where there is none.
    Raises: OSError where the credentials file cannot be read, or is empty.
    """
    if auth.client_names and not names_of(certificate or {}) & set(auth.client_names):
        return False
    expected = authorization_of(auth)
    return expected is None or hmac.compare_digest(
        # Header bytes that are no UTF-8 arrive as surrogates; they are wrong credentials, not our fault.
        authorization.encode(errors="surrogateescape"),
        expected.encode(),
    )


def authorization_of(auth: WebhookAuth) -> str | None:
    """The Authorization header that a sender must show; None where none is asked."""
    if auth.basic_auth is not None:
        password = _stated(auth.basic_auth.password, auth.basic_auth.password_file)
        return "Basic " + b64encode(f"{auth.basic_auth.username}:{password}".encode()).decode()
    token = _stated(auth.bearer_token, auth.bearer_token_file)
    return None if token is None else f"Bearer {token}"


def signed(auth: WebhookAuth, signature: str, body: bytes) -> bool:
    """Whether a body is signed as it must be; Alertmanager itself signs nothing, a proxy may.

    Raises: OSError where the secret's file cannot be read.
    """
    expected = signature_of(auth, body)
    given = signature.removeprefix("sha256=").lower()
    return expected is None or hmac.compare_digest(given.encode(errors="surrogateescape"), expected.encode())


def signature_of(auth: WebhookAuth, body: bytes) -> str | None:
    """The hex signature that a body must have; None where none is asked."""
    secret = _stated(auth.hmac_secret, auth.hmac_secret_file)
    return None if secret is None else hmac.new(secret.encode(), body, "sha256").hexdigest()


def _stated(value: SecretStr | None, file: Path | None) -> str | None:
    """A secret that senders must have; None where none is asked.

    Raises: OSError; also for an empty one, with which anybody could sign.
    """
    secret = read_secret(value, file)
    if secret is not None and not secret.strip():
        raise OSError("the secret is empty")
    return secret


def names_of(certificate: Mapping[str, Any]) -> set[str]:
    """Common name and alternative names of a certificate.

    >>> sorted(names_of({"subject": ((("commonName", "am"),),), "subjectAltName": (("DNS", "am.svc"),)}))
    ['am', 'am.svc']
    """
    subject = {value for part in certificate.get("subject", ()) for key, value in part if key == "commonName"}
    return subject | {value for _, value in certificate.get("subjectAltName", ())}
