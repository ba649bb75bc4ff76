"""Rules that are asked for by name: service level objectives and ready packs."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from sidecar.config.fields import LastingSeconds
from sidecar.config.section import Section
from sidecar.promql.nesting import parse as parse_promql

WINDOW = "$window"

PackName = Literal[
    "alertmanager",
    "databases",
    "http",
    "kubernetes",
    "music-streaming",
    "node",
    "prometheus",
    "queues",
    "self",
]


class SloConfig(Section):
    """One objective; multi-window, multi-burn-rate alerts are written for it.

    `errors` and `total` are PromQL rates with `$window` where the range goes:
    `sum(rate(http_requests_total{code=~"5.."}[$window]))`.
    """

    name: str = Field(pattern=r"^[a-zA-Z_][a-zA-Z0-9_]*$")
    objective: float = Field(gt=0, lt=1, description="share of events that must be good: 0.999")
    errors: str = Field(description="rate of bad events, with $window as its range")
    total: str = Field(description="rate of all events, with $window as its range")
    window: LastingSeconds = Field(30 * 86400.0, description="over which the objective is held")
    min_rate: float = Field(0.0, ge=0, description="fewer events a second than this raise no alert")
    page_severity: str = "critical"
    ticket_severity: str = "warning"
    labels: dict[str, str] = Field(default_factory=dict, description="added to the alerts: team, service")
    runbook_url: str | None = None

    @field_validator("errors", "total")
    @classmethod
    def _is_template(cls, value: str) -> str:
        if WINDOW not in value:
            raise ValueError(f"{value!r} has no {WINDOW}; write rate(metric[{WINDOW}])")
        try:
            parse_promql(value.replace(WINDOW, "5m"))
        except ValueError as error:
            raise ValueError(f"is not PromQL: {' '.join(str(error).split())}") from error
        return value
