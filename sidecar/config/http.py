"""What every HTTP client and receiver can be told: credentials, TLS, headers."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import Field, SecretStr, model_validator

from sidecar.config.fields import HeaderValue
from sidecar.config.section import Section


class TlsConfig(Section):
    """How to trust, and to be trusted by, an HTTPS server."""

    ca_file: Path | None = Field(None, description="authorities to trust in place of the system's")
    cert_file: Path | None = Field(None, description="certificate")
    key_file: Path | None = Field(None, description="its private key")
    server_name: str | None = Field(None, description="name that its certificate bears, if not the host's")
    insecure_skip_verify: bool = Field(False, description="believe any certificate")

    @model_validator(mode="after")
    def _pair(self) -> Self:
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("cert_file and key_file belong together; give both or neither")
        return self


class BasicAuth(Section):
    """A user and a password."""

    username: str
    password: SecretStr | None = None
    password_file: Path | None = None

    @model_validator(mode="after")
    def _one_password(self) -> Self:
        if (self.password is None) == (self.password_file is None):
            raise ValueError("give exactly one of password and password_file")
        return self


class HttpConfig(Section):
    """What every HTTP client here can be told: credentials, TLS, headers."""

    basic_auth: BasicAuth | None = None
    bearer_token: SecretStr | None = None
    bearer_token_file: Path | None = Field(None, description="read anew at each request")
    tls: TlsConfig = TlsConfig()
    headers: dict[HeaderValue, HeaderValue] = Field(
        default_factory=dict, description="sent with every request"
    )

    @model_validator(mode="after")
    def _one_credential(self) -> Self:
        given = [
            name
            for name in ("basic_auth", "bearer_token", "bearer_token_file")
            if getattr(self, name) is not None
        ]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} exclude each other; keep one")
        return self


class ServerTlsConfig(Section):
    """How this server proves itself, and whose client certificates it believes."""

    cert_file: Path
    key_file: Path
    client_ca_file: Path | None = Field(
        None, description="certificates by this authority are believed; who must show one says webhook.auth"
    )
