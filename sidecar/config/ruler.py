"""The ruler API of Mimir, Cortex and Loki, as a place for generated rules."""

from __future__ import annotations

from pydantic import Field, field_validator

from sidecar.config.fields import PositiveSeconds
from sidecar.config.http import HttpConfig
from sidecar.config.section import Section


class RulerConfig(Section):
    """Where the API keeps rules, up to and without the namespace."""

    url: str = Field(
        "http://localhost:8080/prometheus/config/v1/rules",
        description="Mimir: /prometheus/config/v1/rules, Cortex: /api/v1/rules, Loki: /loki/api/v1/rules",
    )
    tenant: str | None = Field(None, description="sent as X-Scope-OrgID")
    http: HttpConfig = HttpConfig()
    timeout: PositiveSeconds = 30.0

    @field_validator("url")
    @classmethod
    def _is_http(cls, value: str) -> str:
        if not value.startswith(("http://", "https://")):
            raise ValueError(f"{value!r} is not a URL; write http://host:8080/prometheus/config/v1/rules")
        return value.rstrip("/")
