"""The HTTP server's part of the configuration: where it listens, and who may read, act and manage."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, SecretStr, field_validator, model_validator

from sidecar.config.http import ServerTlsConfig
from sidecar.config.section import Section

Right = Literal["nothing", "read", "act", "manage"]


class UserConfig(Section):
    """A person with a password (HTTP basic), or a tool with a bearer token."""

    name: str = Field(min_length=1, pattern=r"^[^:\x00-\x1f]+$", description="in timelines, as who did it")
    password: SecretStr | None = None
    password_file: Path | None = None
    bearer_token: SecretStr | None = None
    bearer_token_file: Path | None = None
    may: Right = Field("read", description="read; act on incidents too; manage (reload, quit) too")

    @model_validator(mode="after")
    def _one_credential(self) -> Self:
        ways = ("password", "password_file", "bearer_token", "bearer_token_file")
        if sum(getattr(self, name) is not None for name in ways) != 1:
            raise ValueError(f"give exactly one of {', '.join(ways)}")
        for secret in (self.password, self.bearer_token):
            if secret is not None and not secret.get_secret_value().strip():
                raise ValueError("an empty secret would let everybody in; write one, or name its file")
        return self


class AccessConfig(Section):
    """Who may use the API. Webhooks and signed links prove themselves and are not meant."""

    users: tuple[UserConfig, ...] = ()
    anonymous: Right | None = Field(
        None, description="what others may  [default: nothing where there are users, else everything]"
    )
    open_metrics: bool = Field(True, description="`/metrics` and `/synthetic` ask for nothing")

    @model_validator(mode="after")
    def _unique_names(self) -> Self:
        names = [user.name for user in self.users]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"the user {name!r} is there twice; names must be unique")
        return self

    @property
    def of_anonymous(self) -> Right:
        """What whoever shows no credentials may."""
        return self.anonymous or ("nothing" if self.users else "manage")


class ServerConfig(Section):
    """Where the server listens, how it proves itself, and who may use it."""

    listen: str = Field(
        "0.0.0.0:9469",
        pattern=r"^(\[[0-9a-fA-F:]+\]|[^:\[\]]*):\d{1,5}$",
        description="HOST:PORT; :9469 is every interface",
    )
    tls: ServerTlsConfig | None = Field(None, description="serve HTTPS instead of HTTP")
    access: AccessConfig = AccessConfig()

    @field_validator("listen")
    @classmethod
    def _port(cls, listen: str) -> str:
        if int(listen.rpartition(":")[2]) > 65_535:
            raise ValueError("ports end with 65535; write host:9469 or :9469")
        return listen

    @property
    def open_to_all(self) -> bool:
        """Whether other machines may act without credentials."""
        host = self.listen.rpartition(":")[0]
        return host not in ("127.0.0.1", "[::1]", "localhost") and self.access.of_anonymous in (
            "act",
            "manage",
        )
