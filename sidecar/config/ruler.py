"""The ruler API of Mimir, Cortex and Loki, as a place for generated rules."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from sidecar.config.fields import PositiveSeconds, http_url
from sidecar.config.http import HttpConfig
from sidecar.config.section import Section


class RulerConfig(Section):
    """Where the API keeps rules, up to and without the namespace."""

    url: Annotated[str, http_url("http://host:8080/prometheus/config/v1/rules")] = Field(
        "http://localhost:8080/prometheus/config/v1/rules",
        description="Mimir: /prometheus/config/v1/rules, Cortex: /api/v1/rules, Loki: /loki/api/v1/rules",
    )
    tenant: str | None = Field(None, description="sent as X-Scope-OrgID")
    http: HttpConfig = HttpConfig()
    timeout: PositiveSeconds = 30.0
